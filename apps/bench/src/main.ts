import { HmarError } from '@hmar/core'

import { bench } from './bench.js'
import { compare } from './compare/compare.js'
import { help as compareHelp, parseOptions as parseCompareOptions } from './compare/options.js'
import { benchKernels, parseKernelOptions } from './kernels/bench-kernels.js'
import { help, parseOptions } from './options.js'
import { root } from './root.js'

try {
  await run(process.argv.slice(2))
} catch (error) {
  if (!HmarError.isInstance(error)) throw error
  console.error(error.message)
  process.exitCode = 1
}

async function run(words: readonly string[]): Promise<void> {
  if (words[0] === 'compare') {
    const options = parseCompareOptions(words.slice(1), root)
    return options ? compare(options, root) : explain(compareHelp, words)
  }
  if (words[0] === 'kernels') {
    const options = parseKernelOptions(words.slice(1), root)
    return options ? benchKernels(options, root) : explain(help, words)
  }
  const options = parseOptions(words, root)
  return options ? bench(options, root) : explain(help, words)
}

function explain(text: string, words: readonly string[]): void {
  console.log(text)
  process.exitCode = words.includes('--help') ? 0 : 2
}
