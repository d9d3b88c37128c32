import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { type BenchDevice, benchDevices } from '../cases.js'
import { type SizeName, sizeNames } from './sizes.js'

export const help = `npm run bench -- compare [--device cpu|cuda] [--size <name>]… [--batch <n>]… [--from <json>] [--threads <n>] [--out <folder>] [--weights <folder>]

HMAR beside VAR in one engine: synthetic models of one depth in turn, time and memory, with the decoder and without.

--size     ${sizeNames.join(', ')}; may be given several times
--batch    pictures at once; may be given several times
--from     draws what hmar-device-check's compare measured instead
--out      where the JSON and the HTML page go; by default bench/results
--weights  where synthetic weights are made and kept; by default under node_modules/.cache`

/** What was asked for. */
export interface CompareOptions {
  readonly device: BenchDevice
  /** Undefined: the device's usual ones. */
  readonly sizes: readonly SizeName[] | undefined
  readonly batches: readonly number[] | undefined
  /** A file of hmar-device-check. */
  readonly from: string | undefined
  readonly threads: number
  readonly out: string
  readonly weights: string
}

/** Undefined where the words make no sense, or ask for help. */
export function parseOptions(words: readonly string[], root: string): CompareOptions | undefined {
  const values = parse(words, root)
  if (!values || values.help) return undefined
  const device = benchDevices.find((name) => name === values.device)
  const sizes = values.size?.map((name) => sizeNames.find((known) => known === name))
  const batches = values.batch?.map(Number)
  const threads = Number(values.threads)
  const isCount = (value: number) => Number.isInteger(value) && value > 0
  if (!device || sizes?.includes(undefined) || !(batches ?? [1]).every(isCount) || !isCount(threads))
    return undefined
  const { from, out, weights } = values
  return { device, sizes: sizes as SizeName[] | undefined, batches, from, threads, out, weights }
}

function parse(words: readonly string[], root: string) {
  try {
    return parseArgs({
      args: [...words],
      options: {
        device: { type: 'string', default: 'cpu' },
        size: { type: 'string', multiple: true },
        batch: { type: 'string', multiple: true },
        from: { type: 'string' },
        threads: { type: 'string', default: String(availableParallelism()) },
        out: { type: 'string', default: join(root, 'bench/results') },
        weights: { type: 'string', default: join(root, 'node_modules/.cache/hmar-bench') },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch {
    return undefined
  }
}
