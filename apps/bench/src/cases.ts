/** The models that are measured: the embedded one, and those of released sizes with synthetic weights. */
export const benchModels = ['shapes', 'd16', 'd20', 'd24', 'd30', 'd24-512'] as const

export type BenchModel = (typeof benchModels)[number]

/** What a model with synthetic weights is made with. */
export const synthetic: Readonly<
  Record<Exclude<BenchModel, 'shapes'>, { depth: number; resolution: 256 | 512 }>
> = {
  d16: { depth: 16, resolution: 256 },
  d20: { depth: 20, resolution: 256 },
  d24: { depth: 24, resolution: 256 },
  d30: { depth: 30, resolution: 256 },
  'd24-512': { depth: 24, resolution: 512 },
}

export const benchDevices = ['cpu', 'cuda'] as const

export type BenchDevice = (typeof benchDevices)[number]

/** Ours, PyTorch as it comes, and PyTorch with the whole generation in one CUDA graph. */
type BenchEngine = 'hmar' | 'pytorch' | 'pytorch-graph'

/** One thing to measure. */
export interface BenchCase {
  readonly device: BenchDevice
  readonly model: BenchModel
  readonly engine: BenchEngine
  readonly dtype: 'f32' | 'bf16'
  /** Pictures generated at once. */
  readonly batch: number
}

/** How often, a process and batch: generations before the clock runs, and under it. */
export interface Repetitions {
  readonly warmup: number
  readonly repeats: number
}

/** The models that a device is measured with unless others are asked for. */
export function defaultModels(device: BenchDevice, quick: boolean): readonly BenchModel[] {
  if (device === 'cpu') return ['shapes', 'd16']
  return quick ? ['d16', 'd30'] : ['d16', 'd20', 'd24', 'd30', 'd24-512']
}

/**
 * The cases of a model, those together that share a process. On the CPU every one has its own, so that its peak memory is
 * its own; a GPU counts anew for each batch, and loading takes longer there than measuring.
 */
export function casesOf(model: BenchModel, device: BenchDevice, quick: boolean): readonly BenchCase[][] {
  if (device === 'cuda') {
    const batches = quick ? [1, 64] : [1, 8, 64]
    const engines: BenchEngine[] = ['hmar', 'pytorch', 'pytorch-graph']
    return engines.map((engine) =>
      batches.map((batch) => ({ device, model, engine, dtype: 'bf16' as const, batch })),
    )
  }
  const batches = model === 'shapes' ? [1, 8] : [1]
  return batches.flatMap((batch): BenchCase[][] => [
    [{ device, model, engine: 'hmar', dtype: 'f32', batch }],
    [{ device, model, engine: 'hmar', dtype: 'bf16', batch }],
    [{ device, model, engine: 'pytorch', dtype: 'f32', batch }],
  ])
}

export function repetitions(model: BenchModel, device: BenchDevice, quick: boolean): Repetitions {
  // The first generation chooses kernels, the second records them.
  if (device === 'cuda') return { warmup: 3, repeats: quick ? 5 : 10 }
  if (model === 'shapes') return { warmup: 2, repeats: quick ? 3 : 10 }
  return { warmup: 1, repeats: quick ? 1 : 2 }
}

/** Every process is run so often, in turn with the others. */
export function roundsOf(device: BenchDevice, quick: boolean): number {
  if (quick) return 1
  return device === 'cuda' ? 2 : 3
}

const engineNames: Readonly<Record<BenchEngine, string>> = {
  hmar: 'HMAR',
  pytorch: 'PyTorch',
  'pytorch-graph': 'PyTorch graph',
}

/** `{ engine: 'hmar', dtype: 'bf16', … }` → `HMAR bf16`. */
export const engineName = ({ engine, dtype }: BenchCase) => `${engineNames[engine]} ${dtype}`

/** `d16 ×8 HMAR bf16`. */
export const caseName = (benchCase: BenchCase) =>
  `${benchCase.model} ×${benchCase.batch} ${engineName(benchCase)}`
