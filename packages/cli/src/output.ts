import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import { WriteStream } from 'node:tty'
import { HmarError } from '@hmar/core'

import { type Progress, withProgressBar } from './progress-bar.js'

/** Where a command writes, and whom it can ask. */
export interface Streams {
  readonly stdout: Writable
  readonly stderr: Writable
  readonly stdin?: Readable & { readonly isTTY?: boolean }
}

/** What every command says goes through here: results to standard output, all else to standard error. */
export class Output {
  /** Results as one JSON document. */
  json = false
  /** Errors with their stack. */
  verbose = false

  constructor(private readonly streams: Streams) {}

  /** The command's result: the value as JSON, or the text for people. */
  result(value: unknown, text: string): void {
    this.streams.stdout.write(`${this.json ? JSON.stringify(value) : text}\n`)
  }

  /** A remark to the person at the terminal. */
  note(text: string): void {
    this.streams.stderr.write(`${text}\n`)
  }

  /** Whether a person is there to be asked. */
  get canAsk(): boolean {
    return this.streams.stdin?.isTTY === true
  }

  /** Asks the person at the terminal; whatever is not yes is no. */
  async ask(question: string, signal: AbortSignal): Promise<boolean> {
    const { stdin, stderr } = this.streams
    if (stdin === undefined) return false
    const terminal = createInterface({ input: stdin, output: stderr })
    // The end of the input is an answer, too.
    const ended = new AbortController()
    terminal.once('close', () => ended.abort())
    try {
      const answer = await terminal.question(`${question} [y/N] `, {
        signal: AbortSignal.any([signal, ended.signal]),
      })
      return /^y(es)?$/i.test(answer.trim())
    } catch {
      signal.throwIfAborted()
      return false
    } finally {
      terminal.close()
    }
  }

  /** Runs something that takes long, under a progress bar where standard error is a terminal. */
  withProgress<Result>(title: string, work: (progress: Progress) => Promise<Result>): Promise<Result> {
    const { stderr } = this.streams
    return withProgressBar(stderr instanceof WriteStream ? stderr : undefined, title, work)
  }

  /** What went wrong: for people always, as JSON too where results are. */
  error(error: unknown): void {
    const report = describeError(error)
    if (this.json) this.streams.stdout.write(`${JSON.stringify({ error: report })}\n`)
    const lines = [`error: ${report.message}`]
    if (this.verbose && error instanceof Error && error.stack) lines.push(error.stack)
    this.note(lines.join('\n'))
  }
}

function describeError(error: unknown) {
  if (HmarError.isInstance(error)) {
    const { code, message, found, expected, remedy } = error
    return { code, message, found, expected, remedy }
  }
  const { code = 'INTERNAL', message = String(error) } = error as NodeJS.ErrnoException
  return { code, message }
}
