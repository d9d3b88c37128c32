import { flattenTokens } from '@hmar/core'

import type { Check, Outcome, Subject } from './check.js'
import { countDifferences, relativeError, signalToNoise } from './compare.js'
import { decode, encode, generate, logits, meanLoss } from './compute.js'
import { equalTokens } from './float32.js'

/**
 * Twice what PyTorch is off in bfloat16 on the same goldens (`bench/peers/pytorch/check.py --bfloat16`): room for other orders
 * of summation, none for a wrong product.
 */
const tolerance = {
  /** Root mean square error over the logits' standard deviation. */
  logits: { 'next-scale': 2 * 0.0059, masked: 2 * 0.0074 },
  /** Share of the tokens that encode differently. */
  encoding: 2 * 0.0558,
  /** Decibels; twice the error is 6 less. */
  decoding: 51.1 - 20 * Math.log10(2),
}
/** Of a teacher-forced loss, as the specification has it. */
const mostLossError = 0.005
/** Standard deviations that the loss of generated pictures may be off: one machine in 15,000 by chance. */
const mostDeviations = 4

/**
 * In bfloat16 tokens may differ, and one that does changes all behind it. So logits, losses and pictures are held to float32's
 * on the same tokens, and what is generated must be as likely as what float32 generates.
 *
 * @param reference - the same model in float32
 */
export function bfloat16Checks(subject: Subject, reference: Subject): Check[] {
  return [
    { what: 'encoding', run: () => checkEncoding(subject) },
    { what: 'next-scale logits', run: () => checkLogits(subject, 'next-scale') },
    { what: 'masked logits', run: () => checkLogits(subject, 'masked') },
    { what: 'next-scale loss', run: () => checkLoss(subject, 'next-scale') },
    { what: 'masked loss', run: () => checkLoss(subject, 'masked') },
    { what: 'decoding', run: () => checkDecoding(subject) },
    { what: 'generation', run: () => checkGeneration(subject, reference) },
    { what: 'generation, again', run: () => checkRepetition(subject) },
  ]
}

async function checkEncoding(subject: Subject): Promise<Outcome> {
  let [differences, tokens] = [0, 0]
  for (const picture of subject.goldens.pictures) {
    differences += countDifferences(await encode(subject, picture), picture.encoded)
    tokens += picture.encoded.length
  }
  return {
    ok: differences / tokens <= tolerance.encoding,
    found: `${differences} of ${tokens} tokens differ`,
    expected: `at most ${Math.floor(tolerance.encoding * tokens)}`,
  }
}

async function checkLogits(subject: Subject, pass: 'next-scale' | 'masked'): Promise<Outcome> {
  let error = 0
  for (const golden of subject.goldens.logits) {
    const expected = pass === 'masked' ? golden.masked : golden.nextScale
    error = Math.max(error, relativeError(await logits(subject, golden, pass), expected))
  }
  return {
    ok: error <= tolerance.logits[pass],
    found: `off by ${percent(error)}`,
    expected: `at most ${percent(tolerance.logits[pass])}`,
  }
}

async function checkLoss(subject: Subject, pass: 'next-scale' | 'masked'): Promise<Outcome> {
  const { tokens, nextScaleLoss, maskedLoss } = subject.goldens.scored
  const expected = pass === 'masked' ? maskedLoss : nextScaleLoss
  const error = (await meanLoss(subject, tokens, pass)) / expected - 1
  return {
    ok: Math.abs(error) <= mostLossError,
    found: `off by ${percent(Math.abs(error))}`,
    expected: `at most ${percent(mostLossError)}`,
  }
}

async function checkDecoding(subject: Subject): Promise<Outcome> {
  let least = Number.POSITIVE_INFINITY
  for (const picture of subject.goldens.pictures)
    least = Math.min(least, signalToNoise(await decode(subject, picture), picture.pixels))
  return {
    ok: least >= tolerance.decoding,
    found: `${least.toFixed(1)} dB`,
    expected: `at least ${tolerance.decoding.toFixed(1)}`,
  }
}

async function checkGeneration(subject: Subject, reference: Subject): Promise<Outcome> {
  const { goldens, sampler } = subject
  const { pyramid, codebookSize } = sampler.model.config
  const { tokens } = await generate(subject, goldens.generations[0]!)
  const flat = tokens.map((maps) => flattenTokens(maps, pyramid, codebookSize))
  const { mean, deviation } = goldens.generatedLoss
  const loss = await meanLoss(reference, flat, 'next-scale')
  const margin = mostDeviations * deviation
  return {
    ok: Math.abs(loss - mean) <= margin,
    found: `loss ${loss.toFixed(2)}; ${equalTokens(flat, goldens.scored.tokens).found}`,
    expected: `loss ${(mean - margin).toFixed(2)} to ${(mean + margin).toFixed(2)}`,
  }
}

async function checkRepetition(subject: Subject): Promise<Outcome> {
  const [generation] = subject.goldens.generations
  const { traces } = await generate(subject, generation!)
  return equalTokens((await generate(subject, generation!)).traces, traces)
}

const percent = (share: number) => `${(share * 100).toFixed(2)}%`
