import { type Summary, summarize } from '../statistics.js'

/** One layout at one size and batch. Every list has an entry a timed generation, in milliseconds. */
export interface CompareCase {
  readonly layout: 'hmar' | 'var'
  readonly depth: number
  /** Pixels along a side of a picture. */
  readonly resolution: number
  readonly batch: number
  /** From labels to pixels: by the GPU's clock where one computes, else by the host's. */
  readonly milliseconds: readonly number[]
  /** Without the decoder. */
  readonly passMilliseconds: readonly number[]
  readonly decodeMilliseconds: readonly number[]
  /** What a GPU of a known speed needs at least, in milliseconds; and for the decoder alone. */
  readonly floor?: number
  readonly decodeFloor?: number
  readonly weightBytes: number
  /** Buffers of the passes: activations, and VAR's keys and values. */
  readonly passBytes: number
  /** Buffers of the decoder, beyond those of the passes where both have the same memory. */
  readonly decodeBytes: number
}

/** HMAR and VAR beside one another. Ratios are VAR's over HMAR's: above 1 where HMAR is faster, or smaller. */
export interface Pair {
  readonly depth: number
  readonly resolution: number
  readonly batch: number
  readonly hmar: Side
  readonly var: Side
  readonly ratios: {
    readonly time: number
    /** Without the decoder. */
    readonly passTime: number
    /** Of the memory beyond weights. */
    readonly memory: number
    /** Of that of the passes alone. */
    readonly passMemory: number
  }
}

/** One side of a pair. */
export interface Side {
  readonly time: Summary
  readonly passTime: Summary
  readonly decode: Summary
  readonly floor?: number
  readonly weightBytes: number
  readonly passBytes: number
  readonly decodeBytes: number
}

/** Sets the cases of the same size and batch beside one another, in the order of HMAR's. */
export function pairUp(cases: readonly CompareCase[]): Pair[] {
  const matching = (a: CompareCase) => (b: CompareCase) =>
    b.layout === 'var' && a.depth === b.depth && a.resolution === b.resolution && a.batch === b.batch
  return cases
    .filter(({ layout }) => layout === 'hmar')
    .flatMap((ours) => {
      const other = cases.find(matching(ours))
      return other ? [pairOf(ours, other)] : []
    })
}

function pairOf(ours: CompareCase, other: CompareCase): Pair {
  const { depth, resolution, batch } = ours
  const [hmar, theirs] = [sideOf(ours), sideOf(other)]
  const beyondWeights = ({ passBytes, decodeBytes }: Side) => passBytes + decodeBytes
  return {
    depth,
    resolution,
    batch,
    hmar,
    var: theirs,
    ratios: {
      time: theirs.time.median / hmar.time.median,
      passTime: theirs.passTime.median / hmar.passTime.median,
      memory: beyondWeights(theirs) / beyondWeights(hmar),
      passMemory: theirs.passBytes / hmar.passBytes,
    },
  }
}

const sideOf = (found: CompareCase): Side => ({
  time: summarize(found.milliseconds),
  passTime: summarize(found.passMilliseconds),
  decode: summarize(found.decodeMilliseconds),
  ...(found.floor && { floor: found.floor }),
  weightBytes: found.weightBytes,
  passBytes: found.passBytes,
  decodeBytes: found.decodeBytes,
})
