import { HmarError } from '@hmar/core'

import { bench } from './bench.js'
import { help, parseOptions } from './options.js'
import { root } from './root.js'

const options = parseOptions(process.argv.slice(2), root)
if (!options) {
  console.log(help)
  process.exit(process.argv.includes('--help') ? 0 : 2)
}
try {
  await bench(options, root)
} catch (error) {
  if (!HmarError.isInstance(error)) throw error
  console.error(error.message)
  process.exitCode = 1
}
