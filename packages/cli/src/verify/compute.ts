import { flattenTokens, unflattenTokens } from '@hmar/core'
import type { GenerateResult } from '@hmar/sampler'
import { Schedule } from '@hmar/scheduler'
import type { GoldenGeneration, GoldenLogits, GoldenPicture } from '@hmar/shapes'

import type { Subject } from './check.js'

/** The tokens that a golden picture's bytes encode to. */
export async function encode({ sampler, signal }: Subject, { pixels }: GoldenPicture): Promise<Int32Array> {
  const { pyramid, codebookSize } = sampler.model.config
  const picture = { data: pixels, width: sampler.side, height: sampler.side }
  return flattenTokens(await sampler.tokenizer.encode(picture, { signal }), pyramid, codebookSize)
}

/** The bytes that a golden picture's tokens decode to. */
export async function decode({ sampler, signal }: Subject, { tokens }: GoldenPicture): Promise<Uint8Array> {
  const maps = unflattenTokens(tokens, sampler.model.config.pyramid)
  return (await sampler.tokenizer.decode(maps, { signal })).data
}

/** The logits that goldens keep. */
export async function logits(
  { sampler, goldens, signal }: Subject,
  { tokens, label }: GoldenLogits,
  pass: 'next-scale' | 'masked',
): Promise<Float32Array> {
  const { pyramid, codebookSize } = sampler.model.config
  const { codes, maskedPositions } = goldens
  const request = { tokens: unflattenTokens(tokens, pyramid), label, pass, maskedPositions }
  const all = await sampler.model.logits(request, { signal })
  // The first scale has no masked passes.
  const first = pass === 'masked' ? 1 : 0
  return Float32Array.from(
    { length: (tokens.length - first) * codes.length },
    (_, i) => all[(first + Math.floor(i / codes.length)) * codebookSize + codes[i % codes.length]!]!,
  )
}

/** The mean cross-entropy of token maps, each with its label, teacher-forced. */
export async function meanLoss(
  { sampler, goldens, signal }: Subject,
  tokens: readonly Int32Array[],
  pass: 'next-scale' | 'masked',
): Promise<number> {
  const { labels } = goldens.scored
  const { pyramid } = sampler.model.config
  let sum = 0
  for (const [index, flat] of tokens.entries()) {
    const maps = unflattenTokens(flat, pyramid)
    const { maskedPositions } = goldens
    const request = { tokens: maps, label: labels[index]!, pass, maskedPositions }
    sum += (await sampler.model.score(request, { signal })).meanLoss
  }
  return sum / tokens.length
}

/** What a generation comes to, with its traces in the goldens' form. */
export async function generate(
  { sampler, signal }: Subject,
  { labels, seed, firstImage, batchSize, schedule }: GoldenGeneration,
): Promise<GenerateResult & { readonly traces: readonly Int32Array[] }> {
  const result = await sampler.generate({
    labels,
    seed,
    firstImage,
    batchSize,
    schedule: Schedule.parse(schedule, sampler.model.config),
    trace: true,
    signal,
  })
  const traces = result.trace!.map((maps) => Int32Array.from(maps.flatMap((map) => [...map])))
  return { ...result, traces }
}
