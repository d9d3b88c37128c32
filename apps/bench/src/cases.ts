/** The models that are measured: the embedded one, and one of full size with synthetic weights. */
export const benchModels = ['shapes', 'd16'] as const

export type BenchModel = (typeof benchModels)[number]

/** One thing to measure. */
export interface BenchCase {
  readonly model: BenchModel
  readonly engine: 'hmar' | 'pytorch'
  readonly dtype: 'f32' | 'bf16'
  /** Pictures generated at once. */
  readonly batch: number
}

/** How often, a process: generations before the clock runs, and under it. */
export interface Repetitions {
  readonly warmup: number
  readonly repeats: number
}

const batches: Readonly<Record<BenchModel, readonly number[]>> = { shapes: [1, 8], d16: [1] }

/** Our two precisions beside PyTorch's float32, for every batch of every model. */
export const benchCases = (models: readonly BenchModel[]): BenchCase[] =>
  models.flatMap((model) =>
    batches[model].flatMap((batch): BenchCase[] => [
      { model, engine: 'hmar', dtype: 'f32', batch },
      { model, engine: 'hmar', dtype: 'bf16', batch },
      { model, engine: 'pytorch', dtype: 'f32', batch },
    ]),
  )

export const repetitions = (model: BenchModel, quick: boolean): Repetitions => {
  if (model === 'shapes') return { warmup: 2, repeats: quick ? 3 : 10 }
  return { warmup: 1, repeats: quick ? 1 : 2 }
}

/** `{ engine: 'hmar', dtype: 'bf16', … }` → `HMAR bf16`. */
export const engineName = ({ engine, dtype }: BenchCase) =>
  `${engine === 'hmar' ? 'HMAR' : 'PyTorch'} ${dtype}`
