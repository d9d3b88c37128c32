import { availableParallelism } from 'node:os'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'

import { type BenchDevice, type BenchModel, benchDevices, benchModels } from './cases.js'

export const help = `npm run bench -- [--device cpu|cuda] [--model <name>]… [--quick] [--resume] [--threads <n>] [--out <folder>] [--weights <folder>]
npm run bench -- kernels [--quick] [--out <folder>]

       npm run bench -- compare …   HMAR beside VAR: compare --help

Times generation beside PyTorch (HMAR_PYTHON names the Python that has it; it defaults to python3).

On the CPU: the embedded model and synthetic weights of full size, in float32 and bfloat16, beside PyTorch in float32.
On an NVIDIA GPU: synthetic d16, d20, d24, d30 and d24-512, batches of 1, 8 and 64 in bfloat16, beside PyTorch eager and as one
CUDA graph; memory; and the way from a file on disk to the first picture.
kernels: attention over pyramids of 256, 512 and 1024 px on an NVIDIA GPU, beside PyTorch's ways to do it.

--model    ${benchModels.join(', ')}; may be given several times
--quick    fewer models, batches and repetitions: three minutes on a GPU
--resume   what the same commit measured into the same file today is not measured again
--out      where the JSON and the HTML page go; by default bench/results
--weights  where synthetic weights are made and kept; by default under node_modules/.cache`

/** What was asked for. */
export interface BenchOptions {
  readonly device: BenchDevice
  /** Undefined: the device's usual ones. */
  readonly models: readonly BenchModel[] | undefined
  readonly quick: boolean
  readonly resume: boolean
  readonly threads: number
  readonly out: string
  readonly weights: string
}

/** Undefined where the words make no sense, or ask for help. */
export function parseOptions(words: readonly string[], root: string): BenchOptions | undefined {
  const values = parse(words, root)
  if (!values || values.help) return undefined
  const device = benchDevices.find((name) => name === values.device)
  const models = values.model?.map((name) => benchModels.find((known) => known === name))
  const threads = Number(values.threads)
  if (!device || models?.includes(undefined) || !(Number.isInteger(threads) && threads > 0)) return undefined
  const { quick, resume, out, weights } = values
  return { device, models: models as BenchModel[] | undefined, quick, resume, threads, out, weights }
}

function parse(words: readonly string[], root: string) {
  try {
    return parseArgs({
      args: [...words],
      options: {
        device: { type: 'string', default: 'cpu' },
        model: { type: 'string', multiple: true },
        quick: { type: 'boolean', default: false },
        resume: { type: 'boolean', default: false },
        threads: { type: 'string', default: String(availableParallelism()) },
        out: { type: 'string', default: join(root, 'bench/results') },
        weights: { type: 'string', default: join(root, 'node_modules/.cache/hmar-bench') },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch {
    return undefined
  }
}

/** The command this process was started by. */
export function commandLine(): string {
  const [, program, ...words] = process.argv
  const start = process.env.npm_lifecycle_event
    ? ['npm run bench', ...(words.length > 0 ? ['--'] : [])]
    : ['node', relative('.', program!)]
  return [...start, ...words].join(' ')
}
