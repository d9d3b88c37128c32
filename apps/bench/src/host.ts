import { execFileSync } from 'node:child_process'
import { arch, cpus, platform, release, totalmem } from 'node:os'

/** The machine that was measured. */
export interface Host {
  /** The processor's name. */
  readonly cpu: string
  /** The same as part of a file's name. */
  readonly device: string
  readonly cores: number
  readonly memoryBytes: number
  readonly system: string
}

export function describeHost(): Host {
  const processors = cpus()
  const cpu = processors[0]?.model.trim() ?? 'unknown'
  return {
    cpu,
    device:
      cpu
        .toLowerCase()
        .replaceAll(/\(r\)|\(tm\)|@.*/g, '')
        .match(/[a-z\d]+/g)
        ?.join('-') ?? 'cpu',
    cores: processors.length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
  }
}

/** The commit measured, with `+` where the working tree differs from it. */
export function describeCommit(root: string): string {
  const git = (...words: string[]) => execFileSync('git', ['-C', root, ...words], { encoding: 'utf8' }).trim()
  try {
    return (
      git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '')
    )
  } catch {
    return 'unknown'
  }
}
