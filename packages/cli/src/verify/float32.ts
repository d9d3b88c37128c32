import { formatCount } from '../format.js'
import type { Check, Outcome, Subject } from './check.js'
import { countDifferences, largestDifference } from './compare.js'
import { decode, encode, generate, logits } from './compute.js'
import { firstDifference } from './first-difference.js'

/** The logits of the embedded model deviate by 8; the specification allows this much. */
const mostLogitError = 1e-3
/** Rounding may tip over. */
const mostByteError = 1

/** In float32 every token is decided, and everything else nearly equal. */
export function float32Checks(subject: Subject): Check[] {
  const { goldens } = subject
  return [
    { what: 'encoding', run: () => checkEncoding(subject) },
    { what: 'next-scale logits', run: () => checkLogits(subject, 'next-scale') },
    { what: 'masked logits', run: () => checkLogits(subject, 'masked') },
    { what: 'decoding', run: () => checkDecoding(subject) },
    ...goldens.generations.map((generation) => ({
      what: `generation: ${generation.name}`,
      run: async () => {
        const { traces, plan } = await generate(subject, generation)
        const outcome = equalTokens(traces, generation.traces)
        return { ...outcome, first: firstDifference(plan.passes, traces, generation.traces) }
      },
    })),
  ]
}

async function checkEncoding(subject: Subject): Promise<Outcome> {
  const { pictures } = subject.goldens
  const found: Int32Array[] = []
  for (const picture of pictures) found.push(await encode(subject, picture))
  const expected = pictures.map(({ encoded }) => encoded)
  const picture = found.findIndex((tokens, index) => countDifferences(tokens, expected[index]!) > 0)
  const position = found[picture]?.findIndex((token, at) => token !== expected[picture]![at])
  const first = picture < 0 ? undefined : `picture ${picture}, token ${position} of its pyramid`
  return { ...equalTokens(found, expected), first }
}

async function checkLogits(subject: Subject, pass: 'next-scale' | 'masked'): Promise<Outcome> {
  let error = 0
  for (const golden of subject.goldens.logits) {
    const expected = pass === 'masked' ? golden.masked : golden.nextScale
    error = Math.max(error, largestDifference(await logits(subject, golden, pass), expected))
  }
  return {
    ok: error <= mostLogitError,
    found: `off by ${error.toExponential(1)}`,
    expected: `at most ${mostLogitError}`,
  }
}

async function checkDecoding(subject: Subject): Promise<Outcome> {
  let error = 0
  for (const picture of subject.goldens.pictures)
    error = Math.max(error, largestDifference(await decode(subject, picture), picture.pixels))
  return {
    ok: error <= mostByteError,
    found: `bytes off by ${error}`,
    expected: `at most ${mostByteError}`,
  }
}

/** Whether all tokens are equal. */
export function equalTokens(found: readonly Int32Array[], expected: readonly Int32Array[]): Outcome {
  const differences = found.reduce((sum, row, index) => sum + countDifferences(row, expected[index]!), 0)
  const all = expected.reduce((sum, { length }) => sum + length, 0)
  return {
    ok: differences === 0,
    found: `${formatCount(all - differences)} of ${formatCount(all)} tokens equal`,
    expected: 'all',
  }
}
