import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { synthesizeCheckpoint } from '@hmar/native'

import { commandLine } from '../command-line.js'
import { formatMemory, formatTime } from '../format.js'
import { describeCommit, describeHost, fileName } from '../host.js'
import type { CompareOptions } from './command.js'
import { type CompareCase, type Pair, pairUp } from './comparison.js'
import { readDeviceCheck } from './device-check.js'
import { measureSize } from './measure.js'
import { writeComparison } from './results-file.js'
import { defaultBatches, defaultSizes, type SizeName, sizes } from './sizes.js'

/** Compares HMAR with VAR; what is measured is written size by size. */
export async function compare(options: CompareOptions, root: string): Promise<void> {
  const head = {
    date: new Date().toISOString().slice(0, 10),
    commit: describeCommit(root),
    command: commandLine(),
  }
  const write = async (device: string, software: string, cases: readonly CompareCase[]) => {
    const file = join(options.out, `${head.date}-${fileName(device)}-compare`)
    await writeComparison(file, { ...head, device, software, pairs: pairUp(cases) })
    return file
  }
  if (options.from !== undefined) {
    const { gpu, cases } = await readDeviceCheck(options.from)
    for (const pair of pairUp(cases)) console.log(describePair(pair))
    const file = await write(gpu.name, [gpu.name, ...gpu.features].join(', '), cases)
    console.log(`Wrote ${file}.json and ${file}.html`)
    return
  }

  const { device, threads } = options
  const { gpu, cpu } = describeHost(device)
  const software = [
    gpu ? [gpu.name, ...gpu.features] : [cpu, `${threads} threads`],
    `Node ${process.versions.node}`,
  ]
  const cases: CompareCase[] = []
  for (const size of options.size ?? defaultSizes(device)) {
    const folders = {
      hmar: await weights(size, 'hmar', options),
      var: await weights(size, 'var', options),
    }
    const batches = options.batch ?? defaultBatches(device, size)
    const repetitions = device === 'cuda' ? { warmup: 3, repeats: 10 } : { warmup: 1, repeats: 3 }
    const dtype = device === 'cuda' ? 'bf16' : 'f32'
    const setting = { folders, device, dtype, threads, batches, gpu: gpu?.name, ...repetitions } as const
    const found = await measureSize(setting)
    for (const pair of pairUp(found)) console.log(describePair(pair))
    cases.push(...found)
    const file = await write(gpu?.name ?? cpu, software.flat().join(', '), cases)
    console.log(`Wrote ${file}.json and ${file}.html`)
  }
}

/** The folder of a size's weights, made once and kept. */
async function weights(
  size: SizeName,
  layout: CompareCase['layout'],
  { device, weights: under }: CompareOptions,
): Promise<string> {
  const dtype = device === 'cuda' ? 'bf16' : 'f32'
  const folder = join(under, `synthetic-${layout}-${size}-${dtype}`)
  // The configuration is written last: a folder without it was not finished.
  if (!existsSync(join(folder, 'config.json'))) {
    console.error(`Synthesizing ${layout} ${size} into ${folder} …`)
    await synthesizeCheckpoint({ ...sizes[size], layout, dtype, output: folder })
  }
  return folder
}

const describePair = ({ depth, resolution, batch, hmar, var: other, ratios }: Pair) =>
  `d${depth}, ${resolution} px, batch ${batch}: HMAR ${formatTime(hmar.time.median)}, VAR ${formatTime(other.time.median)}, ` +
  `${ratios.time.toFixed(2)}×; memory ${formatMemory(hmar.passBytes + hmar.decodeBytes)}, ` +
  `${formatMemory(other.passBytes + other.decodeBytes)}, ${ratios.memory.toFixed(2)}×`
