import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'

// Fetches NVIDIA's compiler into kernels-rs/.cuda, where the build of the GPU kernels looks for it. It comes from
// PyPI in versions that `cuda-toolkit.txt` pins by their hashes, needs no root and no GPU, and takes 270 MB. Without it
// everything builds but for the kernels, and computes on the CPU.

const folder = join(root, 'kernels-rs', '.cuda')
const nvcc = join(folder, 'nvidia', 'cu13', 'bin', process.platform === 'win32' ? 'nvcc.exe' : 'nvcc')

if (existsSync(nvcc)) {
  process.stdout.write(`${nvcc} is there already.\n`)
} else {
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  const python = process.platform === 'win32' ? 'python' : 'python3'
  const { ok } = await run(python, [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'],
    ...['--require-hashes', '--no-deps', '--only-binary=:all:'],
    ...['--target', partial, '-r', join('scripts', 'cuda-toolkit.txt')],
  ])
  if (ok) {
    rmSync(folder, { recursive: true, force: true })
    renameSync(partial, folder)
    process.stdout.write(`${nvcc}\n`)
  } else {
    process.stderr.write('The CUDA compiler could not be fetched: this needs Python 3 with pip.\n')
    process.exitCode = 1
  }
}
