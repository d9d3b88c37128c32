import { HmarError } from '@hmar/core'

import { bench } from './bench.js'
import { benchKernels, parseKernelOptions } from './kernels/bench-kernels.js'
import { help, parseOptions } from './options.js'
import { root } from './root.js'

const [mode, ...words] = process.argv.slice(2)
const kernels = mode === 'kernels' ? parseKernelOptions(words, root) : undefined
const options = mode === 'kernels' ? undefined : parseOptions(process.argv.slice(2), root)
if (!options && !kernels) {
  console.log(help)
  process.exit(process.argv.includes('--help') ? 0 : 2)
}
try {
  if (kernels) await benchKernels(kernels, root)
  else if (options) await bench(options, root)
} catch (error) {
  if (!HmarError.isInstance(error)) throw error
  console.error(error.message)
  process.exitCode = 1
}
