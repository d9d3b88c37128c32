import { Writable } from 'node:stream'

import { run } from '../run.js'

/** Runs a command line in this process and gathers what it says. */
export async function hmar(words: readonly string[], signal = new AbortController().signal) {
  const said = { stdout: '', stderr: '' }
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _, done) {
        said[name] += chunk
        done()
      },
    })
  const code = await run(words, { stdout: into('stdout'), stderr: into('stderr') }, signal)
  return { code, ...said }
}
