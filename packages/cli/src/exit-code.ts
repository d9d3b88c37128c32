import { HmarError } from '@hmar/core'
import { CommanderError } from 'commander'

/** Why a command was stopped from outside. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  readonly code = 'CANCELLED'

  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super('Interrupted. Finished files were kept; none is half-written.')
  }
}

/** Ends a command that did its work, said so, and whose answer is no. */
export class NegativeResult extends Error {
  override readonly name = 'NegativeResult'
}

/** The program's exit codes; `hmar --help` lists them. */
export const exitCodes = { success: 0, failure: 1, usage: 2, SIGINT: 130, SIGTERM: 143 } as const

const usageErrors: readonly string[] = ['ARGUMENT_OUT_OF_RANGE', 'SCHEDULE_INVALID']

/** The exit code that stands for an error. */
export function exitCode(error: unknown): number {
  if (error instanceof Interrupted) return exitCodes[error.signal]
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.success : exitCodes.usage
  if (HmarError.isInstance(error) && usageErrors.includes(error.code)) return exitCodes.usage
  return exitCodes.failure
}
