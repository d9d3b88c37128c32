import { type Curve, type DefaultModel, Schedule } from '@hmar/scheduler'

/** A schedule, and what the documentation calls it. */
export interface Variant {
  readonly name: string
  readonly schedule: Schedule
}

/** Schedules that differ in one thing. */
export interface Family {
  /** Also the name of its sheet. */
  readonly name: string
  readonly variants: readonly Variant[]
}

const variants = (schedules: Record<string, Schedule>): Variant[] =>
  Object.entries(schedules).map(([name, schedule]) => ({ name, schedule }))

/** What the documentation shows, family by family: ways to sample a model whose scales have 1, 2, 3, 4, 6, 8 positions a side. */
export function familiesOf(model: DefaultModel): readonly Family[] {
  const usual = Schedule.default(model)
  /** The three fine scales in four, six and eight passes. */
  const refined = (curve: Curve['curve']) =>
    usual.refine(4, { curve, steps: 4 }).refine(5, { curve, steps: 6 }).refine(6, { curve, steps: 8 })
  const cosine = refined('cosine')
  return [
    {
      name: 'counts',
      variants: variants({
        'explicit (the default)': usual,
        uniform: refined('uniform'),
        power: refined('power'),
        cosine,
        logarithm: refined('logarithm'),
        exponential: refined('exponential'),
        arccos: refined('arccos'),
        root: refined('root'),
      }),
    },
    {
      name: 'positions',
      variants: variants({
        'least confident stay open': cosine,
        'gumbel 1': cosine.positions({ kind: 'gumbel', temperature: 1 }),
        'gumbel 4.5': cosine.positions({ kind: 'gumbel' }),
        random: cosine.positions({ kind: 'random' }),
        halton: cosine.positions({ kind: 'halton' }),
        'locality 2': cosine.positions({ kind: 'locality' }),
      }),
    },
    {
      name: 'guidance',
      variants: variants({
        none: usual.guidance({ scale: 0 }),
        'linear to 1.5 (the default)': usual,
        'linear to 5': usual.guidance({ scale: 5 }),
        'constant 1.5': usual.guidance({ nextScale: 'constant' }),
        'power-cosine to 1.5, power 2': usual.guidance({ nextScale: 'power-cosine', power: 2 }),
        'constant 1.5 at scales 2 to 4': usual.guidance({ nextScale: 'constant', scales: [2, 4] }),
        'linear, and 1.5 in masked passes': usual.guidance({ masked: 1.5 }),
      }),
    },
    {
      name: 'sampling',
      variants: variants({
        'top-k 300, top-p 0.95 (the default)': usual,
        unfiltered: usual.sampling({ topK: 0, topP: 0 }),
        'top-k 1': usual.sampling({ topK: 1, topP: 0 }),
        'top-p 0.8': usual.sampling({ topK: 0, topP: 0.8 }),
        'min-p 0.1': usual.sampling({ topK: 0, topP: 0, minP: 0.1 }),
        'temperature 1.5 to 0.5': usual.sampling({ temperature: { from: 1.5, to: 0.5 } }),
        'temperature 0.5 to 1.5': usual.sampling({ temperature: { from: 0.5, to: 1.5 } }),
        'soft decoding': usual.sampling({ smooth: true }),
      }),
    },
    {
      name: 'revision',
      variants: variants({
        'none (the default)': usual,
        'scale 4 once, 8 of 16': usual.revise(4, [8]),
        'scales 4 to 6 twice, a quarter': usual.revise(4, [4, 4]).revise(5, [9, 9]).revise(6, [16, 16]),
        'cosine, none': cosine,
        'cosine, a tenth each pass': cosine.revise(5, { share: 0.1 }).revise(6, { share: 0.1 }),
        'cosine, a third each pass': cosine.revise(5, { share: 1 / 3 }).revise(6, { share: 1 / 3 }),
      }),
    },
  ]
}
