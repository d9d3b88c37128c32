import { pyramidTokens, type TokenMaps, unflattenTokens } from '@hmar/core'
import type { NativeGenerateResult } from '@hmar/native/binding'
import type { Plan } from '@hmar/scheduler'
import { type HmarImage, splitImages } from '@hmar/tokenizer'

import { split } from './split.js'

/** What was generated. Arrays belong to the caller. */
export interface GenerateResult {
  /** One for each label, in their order. */
  readonly images: readonly HmarImage[]
  /** Their tokens. */
  readonly tokens: readonly TokenMaps[]
  readonly timings: Timings
  /** The passes that ran. */
  readonly plan: Plan
  /** With `trace`: for each image and each pass, the whole token map of the pass's scale after it. */
  readonly trace?: readonly (readonly Int32Array[])[]
}

/** Where the time went, in milliseconds, summed over the batches. */
export interface Timings {
  /** Modulations that depend on the label alone. */
  readonly conditionMs: number
  /** Each pass of the plan. */
  readonly passMs: readonly number[]
  readonly decodeMs: number
  /** From the first to the last, whatever else there was included. */
  readonly totalMs: number
  /** The same by the clock of the GPU, between two events; undefined on the CPU. */
  readonly deviceMs?: number | undefined
}

/** Parts the engine's arrays into images. */
export function splitResult(native: NativeGenerateResult, plan: Plan, side: number): GenerateResult {
  const { pixels, tokens, trace, timings } = native
  const sides = plan.passes.map((pass) => pass.side)
  return {
    images: splitImages(pixels, side),
    tokens: split(tokens, pyramidTokens(plan.pyramid)).map((flat) => unflattenTokens(flat, plan.pyramid)),
    timings,
    plan,
    ...(trace && {
      trace: split(trace, pyramidTokens(sides)).map((maps) => unflattenTokens(maps, sides).scales),
    }),
  }
}
