import type { ModelConfig } from '@hmar/core'
import { type Curve, Schedule } from '@hmar/scheduler'

/** What the controls of the composer say. */
export interface Composition {
  readonly guidance: number
  readonly guidanceShape: 'linear' | 'constant' | 'power-cosine'
  readonly temperatureFrom: number
  readonly temperatureTo: number
  readonly topP: number
  /** Passes over each scale; undefined keeps the model's own list. */
  readonly steps: readonly (number | undefined)[]
  readonly curve: Curve['curve']
  readonly positions: 'least-confident' | 'gumbel' | 'random' | 'halton' | 'locality'
  /** Of what is committed, opened again before each masked pass. */
  readonly revision: number
}

/** The controls as a model is sampled by default. */
export function usualComposition(model: ModelConfig): Composition {
  const { guidance, sampling } = Schedule.default(model).toJSON()
  return {
    guidance: guidance.scale,
    guidanceShape: 'linear',
    temperatureFrom: 1,
    temperatureTo: 1,
    topP: typeof sampling.topP === 'number' ? sampling.topP : 0,
    steps: model.pyramid.map(() => undefined),
    curve: 'cosine',
    positions: 'least-confident',
    revision: 0,
  }
}

/** The schedule that the controls describe: the model's own, with what was changed. */
export function composed(composition: Composition, model: ModelConfig): Schedule {
  const { guidance, guidanceShape, temperatureFrom, temperatureTo, topP, curve, revision } = composition
  const ramp = { from: temperatureFrom, to: temperatureTo }
  const usual = usualComposition(model)
  let schedule = Schedule.default(model)
  if (guidance !== usual.guidance || guidanceShape !== usual.guidanceShape)
    schedule = schedule.guidance({ scale: guidance, nextScale: guidanceShape })
  schedule = schedule.sampling({ topP, temperature: ramp.from === ramp.to ? ramp.from : ramp })
  for (const [index, steps] of composition.steps.entries()) {
    const tokens = model.pyramid[index]! ** 2
    if (steps !== undefined) schedule = schedule.refine(index + 1, steps === 1 ? [tokens] : { curve, steps })
  }
  for (const [index, commits] of schedule.commits.entries())
    if (revision > 0 && commits.length > 1) schedule = schedule.revise(index + 1, { share: revision })
  return composition.positions === 'least-confident'
    ? schedule
    : schedule.positions({ kind: composition.positions })
}

/** Most passes that the controls offer for a scale. */
export const mostSteps = (side: number) => Math.min(side * side, 12)
