import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { HmarError } from '@hmar/core'
import { inspectDevices } from '@hmar/native'

import type { BenchDevice } from './cases.js'

/** The machine that was measured. */
export interface Host {
  /** The processor's name. */
  readonly cpu: string
  /** The GPU, where it is that which computes. */
  readonly gpu?: Gpu
  /** The name of what computes, as part of a file's name. */
  readonly device: string
  readonly cores: number
  readonly memoryBytes: number
  readonly system: string
}

interface Gpu {
  readonly name: string
  /** Compute capability, memory, driver. */
  readonly features: readonly string[]
}

/** @throws {HmarError} `DEVICE_UNAVAILABLE` where a GPU is to be measured and none can be used */
export function describeHost(device: BenchDevice): Host {
  const processors = cpus()
  const cpu = processors[0]?.model.trim() ?? 'unknown'
  const gpu = device === 'cuda' ? usableGpu() : undefined
  return {
    cpu,
    ...(gpu && { gpu }),
    device: fileName(gpu?.name ?? cpu) ?? device,
    cores: processors.length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
  }
}

function usableGpu(): Gpu {
  const gpus = inspectDevices().filter(({ kind }) => kind === 'cuda')
  const usable = gpus.find(({ available }) => available)
  if (usable) return { name: usable.name, features: usable.features }
  throw new HmarError('DEVICE_UNAVAILABLE', 'There is no GPU to measure.', {
    found: gpus[0]?.reason ?? 'none',
    remedy: 'Measure the CPU: --device cpu.',
  })
}

/** A name as part of a file's. */
export const fileName = (name: string) =>
  name
    .toLowerCase()
    .replaceAll(/\(r\)|\(tm\)|@.*/g, '')
    .match(/[a-z\d]+/g)
    ?.join('-')

/** The commit measured, with `+` where the working tree differs from it. A packed bench has it in a file. */
export function describeCommit(root: string): string {
  const packed = join(root, 'commit.txt')
  if (existsSync(packed)) return readFileSync(packed, 'utf8').trim()
  const git = (...words: string[]) => execFileSync('git', ['-C', root, ...words], { encoding: 'utf8' }).trim()
  try {
    return (
      git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '')
    )
  } catch {
    return 'unknown'
  }
}
