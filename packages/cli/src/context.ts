import type { Output } from './output.js'

/** What every command gets beside its arguments. */
export interface Context {
  readonly output: Output
  /** Aborted by Ctrl-C, with `Interrupted` as its reason. */
  readonly signal: AbortSignal
}
