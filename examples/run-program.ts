import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** What a program printed on standard output, and the files that it left where it ran. */
export interface Ran {
  readonly printed: string
  readonly files: readonly string[]
}

const tsx = import.meta.resolve('tsx')

/** Runs a TypeScript program against the packages as they are built, in a folder of its own. */
export async function runProgram(path: string): Promise<Ran> {
  const folder = await mkdtemp(join(tmpdir(), 'hmar-example-'))
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, path], { cwd: folder })
    return { printed: stdout, files: (await readdir(folder)).sort() }
  } finally {
    await rm(folder, { recursive: true })
  }
}
