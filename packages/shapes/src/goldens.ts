import { fileURLToPath } from 'node:url'

import { readSafetensors, rows } from './safetensors.js'

/** A generation by the embedded model: what was asked for, and what came out in float32. */
export interface GoldenGeneration {
  readonly name: string
  /** Null is the unconditional class. */
  readonly labels: readonly (number | null)[]
  readonly seed: bigint
  readonly firstImage: number
  /** Images made at once. */
  readonly batchSize: number
  /** A sampling configuration, as `Schedule.parse` reads it. */
  readonly schedule: string
  /** Of each image: the token map of each pass's scale after it, one after another. */
  readonly traces: readonly Int32Array[]
}

/** A generated picture. */
export interface GoldenPicture {
  /** Red, green and blue bytes, row by row, 64×64. */
  readonly pixels: Uint8Array
  /** Σp² tokens that it was decoded from. */
  readonly tokens: Int32Array
  /** Those that its bytes encode to. */
  readonly encoded: Int32Array
}

/** Teacher-forced logits of one picture's tokens. */
export interface GoldenLogits {
  readonly tokens: Int32Array
  readonly label: number | null
  /** `[Σp², codes]` of the next-scale branch. */
  readonly nextScale: Float32Array
  /** `[Σp² − 1, codes]` of the masked branch, from the second scale on. */
  readonly masked: Float32Array
}

/** What the embedded model computes in float32, to hold a machine to. */
export interface Goldens {
  readonly generations: readonly GoldenGeneration[]
  readonly pictures: readonly GoldenPicture[]
  readonly logits: readonly GoldenLogits[]
  /** The codes whose logits are kept. */
  readonly codes: readonly number[]
  /** The positions that masked logits were computed with. */
  readonly maskedPositions: readonly number[]
  /** Teacher-forced: pictures with their tokens and labels, and their mean cross-entropy in nats. */
  readonly scored: {
    readonly tokens: readonly Int32Array[]
    readonly labels: readonly number[]
    readonly nextScaleLoss: number
    readonly maskedLoss: number
  }
  /** How the mean loss of the pictures that the first generation makes varies from seed to seed. */
  readonly generatedLoss: { readonly mean: number; readonly deviation: number }
}

/** What stands as JSON in the file's metadata. */
interface Settings extends Pick<Goldens, 'codes' | 'maskedPositions' | 'generatedLoss'> {
  readonly generations: readonly (Omit<GoldenGeneration, 'traces' | 'seed' | 'schedule'> & {
    readonly seed: string
    readonly schedule: object
  })[]
  /** Which of the scored ones are kept as pictures. */
  readonly pictures: readonly number[]
  readonly logits: readonly { readonly picture: number; readonly label: number | null }[]
  readonly labels: readonly number[]
  readonly nextScaleLoss: number
  readonly maskedLoss: number
}

const path = fileURLToPath(new URL('../goldens/goldens.safetensors', import.meta.url))

/** Reads the goldens beside the weights. They were made on a CPU in float32, and agree with a PyTorch implementation. */
export function readGoldens(): Goldens {
  const file = readSafetensors(path)
  const settings: Settings = JSON.parse(file.metadata.settings!)
  const tokens = rows(file.integers('tokens'))
  const [pixels, encoded] = [rows(file.bytes('pictures')), rows(file.integers('encoded'))]
  const [nextScale, masked] = [rows(file.floats('logits.next-scale')), rows(file.floats('logits.masked'))]
  const { labels, nextScaleLoss, maskedLoss, codes, maskedPositions, generatedLoss } = settings
  return {
    generations: settings.generations.map(({ seed, schedule, ...generation }) => ({
      ...generation,
      seed: BigInt(seed),
      schedule: JSON.stringify(schedule),
      traces: rows(file.integers(`trace.${generation.name}`)),
    })),
    pictures: settings.pictures.map((picture, index) => ({
      pixels: pixels[index]!,
      tokens: tokens[picture]!,
      encoded: encoded[index]!,
    })),
    logits: settings.logits.map(({ picture, label }, index) => ({
      tokens: tokens[picture]!,
      label,
      nextScale: nextScale[index]!,
      masked: masked[index]!,
    })),
    codes,
    maskedPositions,
    scored: { tokens, labels, nextScaleLoss, maskedLoss },
    generatedLoss,
  }
}
