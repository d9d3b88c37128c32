import { HmarError } from '@hmar/core'
import { CommanderError } from 'commander'

import { bench } from './bench.js'
import { compare } from './compare/compare.js'
import { benchKernels } from './kernels/bench-kernels.js'
import { createProgram } from './program.js'
import { root } from './root.js'

const program = createProgram(root, {
  generation: (options) => bench(options, root),
  kernels: (options) => benchKernels(options, root),
  compare: (options) => compare(options, root),
})
try {
  await program.parseAsync()
} catch (error) {
  // Commander has printed its own message, or the help that was asked for.
  if (error instanceof CommanderError) process.exitCode = error.exitCode && 2
  else if (HmarError.isInstance(error)) {
    console.error(error.message)
    process.exitCode = 1
  } else throw error
}
