import { Readable, Writable } from 'node:stream'

import { run } from '../run.js'

/**
 * Runs a command line in this process and gathers what it says.
 *
 * @param typed - what the person at the terminal types, if there is one
 */
export async function hmar(words: readonly string[], signal = new AbortController().signal, typed?: string) {
  const said = { stdout: '', stderr: '' }
  const into = (name: keyof typeof said) =>
    new Writable({
      write(chunk, _, done) {
        said[name] += chunk
        done()
      },
    })
  const stdin = Object.assign(Readable.from(typed === undefined ? [] : [typed]), {
    isTTY: typed !== undefined,
  })
  const code = await run(words, { stdout: into('stdout'), stderr: into('stderr'), stdin }, signal)
  return { code, ...said }
}
