import type { ModelConfig } from '@hmar/core'
import type { ScheduleCost } from '@hmar/scheduler'

/** How fast a GPU is at most. */
export interface Peak {
  /** Bytes a second that a copy moves. */
  readonly bandwidth: number
  /** bfloat16 operations a second that a large product reaches. */
  readonly arithmetic: number
}

/** Measured, not promised: a copy, and a product of two 8192×8192 matrices. */
const peaks: readonly (readonly [name: RegExp, peak: Peak])[] = [
  [/\bH200\b/, { bandwidth: 4.3e12, arithmetic: 790e12 }],
  [/\bH100 80GB HBM3\b/, { bandwidth: 3.0e12, arithmetic: 790e12 }],
]

/** How fast the GPU of this name is, if that is known. */
export const peakOf = (gpu: string): Peak | undefined => peaks.find(([name]) => name.test(gpu))?.[1]

/** Milliseconds that a generation takes at least: bytes over bandwidth, or operations over arithmetic where that is longer. */
export interface Floor {
  readonly total: number
  readonly conditioning: number
  /** In the plan's order. */
  readonly passes: readonly number[]
  readonly decoding: number
}

/**
 * The floor of what a schedule costs, part by part.
 *
 * @param cost - counted with the tokenizer, in bf16
 */
export function floorOf(
  { perPass, conditioning, decoder }: ScheduleCost,
  { codebookSize }: Pick<ModelConfig, 'codebookSize'>,
  { bandwidth, arithmetic }: Peak,
): Floor {
  const milliseconds = (bytes: number, flops: number) => Math.max(bytes / bandwidth, flops / arithmetic) * 1e3
  // Every token's logits are written as float32.
  const passes = perPass.map(({ tokens, flops, weightBytes }) =>
    milliseconds(weightBytes + 4 * tokens * codebookSize, flops),
  )
  const condition = milliseconds(conditioning.weightBytes, conditioning.flops)
  const decoding = decoder ? milliseconds(decoder.weightBytes, decoder.flops) : 0
  return {
    total: passes.reduce((sum, pass) => sum + pass, condition + decoding),
    conditioning: condition,
    passes,
    decoding,
  }
}
