import { CommanderError } from 'commander'

import { exitCode, exitCodes, NegativeResult } from './exit-code.js'
import { Output, type Streams } from './output.js'
import { createProgram } from './program.js'

/**
 * Runs one command line and resolves to its exit code; never rejects.
 *
 * @param words - what stands behind the program's name
 * @param signal - aborting it ends the command before its next pass
 */
export async function run(words: readonly string[], streams: Streams, signal: AbortSignal): Promise<number> {
  const output = new Output(streams)
  try {
    await createProgram({ output, signal }, streams).parseAsync(words, { from: 'user' })
    return exitCodes.success
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for; a negative result is a result.
    if (!(error instanceof CommanderError || error instanceof NegativeResult)) output.error(error)
    return exitCode(error)
  }
}
