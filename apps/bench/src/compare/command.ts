import { Command, Option } from 'commander'

import type { BenchDevice } from '../cases.js'
import { deviceOption, outOption, parseCount, threadsOption, weightsOption } from '../options.js'
import { type SizeName, sizeNames } from './sizes.js'

/** What was asked for. */
export interface CompareOptions {
  readonly device: BenchDevice
  /** Undefined: the device's usual ones. */
  readonly size?: readonly SizeName[]
  readonly batch?: readonly number[]
  /** A file of hmar-device-check. */
  readonly from?: string
  readonly threads: number
  readonly out: string
  readonly weights: string
}

export const compareCommand = (root: string, work: (options: CompareOptions) => Promise<void>) =>
  new Command('compare')
    .description(
      'Times HMAR beside VAR in one engine: synthetic models of one depth in turn, with the decoder and without; and their memory.',
    )
    .addOption(deviceOption())
    .addOption(new Option('--size <name...>', 'by default the usual ones of the device').choices(sizeNames))
    .addOption(new Option('--batch <count...>', 'pictures at once').argParser(parseCounts))
    .option('--from <json>', "draw what hmar-device-check's compare measured instead")
    .addOption(threadsOption())
    .addOption(outOption(root))
    .addOption(weightsOption(root))
    .action(work)

const parseCounts = (text: string, earlier: readonly number[] = []) => [...earlier, parseCount(text)]
