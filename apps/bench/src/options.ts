import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'

import { benchDevices } from './cases.js'

/** Options that the benchmark's commands share. */
export const deviceOption = () =>
  new Option('--device <device>', 'what computes').choices(benchDevices).default('cpu')

export const threadsOption = () =>
  new Option('--threads <count>', 'of the CPU').argParser(parseCount).default(availableParallelism())

export const quickOption = (what: string) => new Option('--quick', what).default(false)

export const outOption = (root: string) =>
  new Option('--out <folder>', 'where the JSON and the HTML page go').default(
    join(root, 'bench/results'),
    'bench/results',
  )

export const weightsOption = (root: string) =>
  new Option('--weights <folder>', 'where synthetic weights are made and kept').default(
    join(root, 'node_modules/.cache/hmar-bench'),
    'node_modules/.cache/hmar-bench',
  )

export function parseCount(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count > 0) return count
  throw new InvalidArgumentError('It is no whole number above 0.')
}
