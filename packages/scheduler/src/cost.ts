import { checkOptions, type ModelConfig, type Pass, TokenizerConfig } from '@hmar/core'
import { z } from 'zod'
import { decoderCost } from './decoder-cost.js'
import { DeviceProfile, estimate } from './device-profile.js'
import type { Plan } from './plan.js'
import type { Work } from './work.js'

/** Below this the guidance of a masked pass changes nothing, and the engine leaves its unconditional half out. */
export const negligibleGuidance = 1e-4

/** What a cost is counted for. */
export const CostOptions = z.strictObject({
  /** Pictures in a batch. Defaults to 1. */
  images: z.int().positive().optional(),
  /** Different labels among them. Defaults to `images`. */
  labels: z.int().positive().optional(),
  /** How weights are stored: 4 or 2 bytes each. Defaults to `f32`. */
  dtype: z.enum(['f32', 'bf16']).optional(),
  /** Whether masked passes of negligible guidance skip their unconditional half. Defaults to true. */
  skipNegligibleGuidance: z.boolean().optional(),
  /** Counts the tokenizer's decoder, too. */
  tokenizer: TokenizerConfig.optional(),
  /** Estimates the time on a device that was measured; see `profileDevice`. */
  device: DeviceProfile.readonly().optional(),
})
/** What a cost is counted for. */
export type CostOptions = z.input<typeof CostOptions>

/** What one pass costs. */
export interface PassCost extends Work {
  /** Tokens computed: p² for each picture, twice where the pass is guided. */
  readonly tokens: number
}

/**
 * What a schedule costs: `flops` and `weightBytes` are those of the passes, of the conditioning and of the decoder
 * together.
 *
 * - A pass over n rows of L = p² tokens: 2·n·L·(D·(4 + 2R)·C² + C·V) for the products (R the `mlpRatio`) and 4·n·L·S·D·C
 *   for attention over S tokens: S = L, and in the layout `var` the tokens of this and all earlier scales. n is twice the
 *   pictures where the pass is guided. It reads D·(4 + 2R)·C² + C·V weights.
 * - The conditioning, once per generation and class c: 2·c·W, reading W weights: 6·C² a block (one for all with a shared
 *   AdaLN) and 2·C² a head, of the masked branch too if it is used. The null class counts if any pass is guided.
 * - The decoder: the products of its convolutions and attention blocks, once a picture.
 *
 * What is left out (embeddings, norms, softmax, the quantiser, sampling) is below 2% together at the released sizes.
 */
export interface ScheduleCost extends Work {
  /** Passes of the transformer. */
  readonly passes: number
  /** Tokens computed in all passes. */
  readonly tokens: number
  /** Each pass, in the plan's order. */
  readonly perPass: readonly PassCost[]
  /** The modulations that depend on the label alone (AdaLN). */
  readonly conditioning: Work
  /** The tokenizer's decoder, if it was asked for. */
  readonly decoder?: Work
  /** The time of all this together, if a device was given. */
  readonly milliseconds?: number
}

/** The cost of a plan on a model that it fits. */
export function costOf(plan: Plan, model: ModelConfig, options: CostOptions): ScheduleCost {
  const {
    images = 1,
    labels = images,
    dtype = 'f32',
    skipNegligibleGuidance = true,
    tokenizer,
    device,
  } = checkOptions('The options of a cost', CostOptions, options)
  const bytesPerWeight = dtype === 'f32' ? 4 : 2
  const blockWeights = (4 + 2 * model.mlpRatio) * model.width ** 2
  const passWeights = model.depth * blockWeights + model.width * model.codebookSize

  const guided = plan.passes.map(({ kind, guidance }) =>
    kind === 'masked' && skipNegligibleGuidance ? Math.abs(guidance) >= negligibleGuidance : guidance !== 0,
  )
  const anyGuided = guided.includes(true)

  let earlierTokens = 0
  const perPass = plan.passes.map((pass, index): PassCost => {
    const mapTokens = pass.side ** 2
    // VAR's unconditional half runs in every pass: the later ones attend to it.
    const rows = images * ((model.layout === 'var' ? anyGuided : guided[index]) ? 2 : 1)
    const attended = model.layout === 'var' ? earlierTokens + mapTokens : mapTokens
    if (pass.kind === 'next-scale') earlierTokens += mapTokens
    const tokens = rows * mapTokens
    return {
      tokens,
      flops: 2 * tokens * passWeights + 4 * tokens * attended * model.depth * model.width,
      weightBytes: passWeights * bytesPerWeight,
    }
  })

  const modulations = modulationWeights(model, plan.passes)
  const conditioning = {
    flops: 2 * (labels + (anyGuided ? 1 : 0)) * modulations,
    weightBytes: modulations * bytesPerWeight,
  }
  const decoder = tokenizer && decoderCost(tokenizer, plan.pyramid, images, bytesPerWeight)
  const parts = [...perPass, conditioning, ...(decoder ? [decoder] : [])]
  return {
    passes: plan.passes.length,
    tokens: perPass.reduce((sum, { tokens }) => sum + tokens, 0),
    flops: parts.reduce((sum, { flops }) => sum + flops, 0),
    weightBytes: parts.reduce((sum, { weightBytes }) => sum + weightBytes, 0),
    perPass,
    conditioning,
    ...(decoder && { decoder }),
    ...(device && { milliseconds: estimate([...perPass, conditioning], decoder, device) }),
  }
}

function modulationWeights(model: ModelConfig, passes: readonly Pass[]): number {
  const masked = passes.some(({ kind }) => kind === 'masked')
  const blocks = model.sharedAdaLN ? 1 : model.depth + (masked ? model.branchDepth : 0)
  const heads = masked ? 2 : 1
  return (6 * blocks + 2 * heads) * model.width ** 2
}
