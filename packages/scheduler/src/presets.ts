import { PYRAMIDS, type Pyramid, samePyramid } from '@hmar/core'

/** What a preset sets; guidance is linear in the scale. */
export interface Preset {
  /** Guidance at the last scale ("cfg"). */
  readonly guidance: number
  readonly topK: number
  readonly topP: number
}

/**
 * How the released models are sampled: `sample` for pictures to look at, `evaluate` for metrics. `d16` to `d30` are
 * HMAR's (§4). `var` is VAR's, without masked passes: as in its demo, and as for its FID.
 */
export const presets = {
  d16: {
    sample: { guidance: 1.7, topK: 1000, topP: 0.99 },
    evaluate: { guidance: 1.7, topK: 1000, topP: 0.99 },
  },
  d20: {
    sample: { guidance: 1.9, topK: 950, topP: 0.99 },
    evaluate: { guidance: 1.9, topK: 950, topP: 0.99 },
  },
  d24: {
    sample: { guidance: 2.1, topK: 900, topP: 0.99 },
    evaluate: { guidance: 2.1, topK: 900, topP: 0.99 },
  },
  d30: {
    sample: { guidance: 1.7, topK: 1000, topP: 0.99 },
    evaluate: { guidance: 1.6, topK: 650, topP: 0.99 },
  },
  var: {
    sample: { guidance: 4, topK: 900, topP: 0.95 },
    evaluate: { guidance: 1.5, topK: 900, topP: 0.96 },
  },
} as const satisfies Record<string, { sample: Preset; evaluate: Preset }>

/** The name of a preset. */
export type PresetName = keyof typeof presets

/** What a preset is for: pictures, or metrics. */
export type PresetUse = 'sample' | 'evaluate'

/** The preset of HMAR models of a depth, if there is one. */
export function presetOfDepth(depth: number): PresetName | undefined {
  const name = `d${depth}`
  return name in presets ? (name as PresetName) : undefined
}

const defaultCommits: readonly (readonly [Pyramid, readonly (readonly number[])[]])[] = [
  [PYRAMIDS[256], [[1], [1, 3], [1, 1, 2, 5], [16], [25], [36], [64], [100], [169], [256]]],
  [PYRAMIDS[512], [[1], [1, 3], [1, 1, 2, 5], [5, 11], [36], [81], [169], [324], [576], [1024]]],
]

/** HMAR's lists of tokens committed by each pass, for the pyramids that have them (256 and 512 pixels). */
export function defaultCommitsOf(pyramid: Pyramid): readonly (readonly number[])[] | undefined {
  return defaultCommits.find(([known]) => samePyramid(known, pyramid))?.[1]
}
