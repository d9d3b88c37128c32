// Packs what a GPU machine without Node, a registry and cargo needs to verify and to measure itself:
//
//   npm run build && npm run device-pack -- [--copy] [folder]
//
// The folder (by default `.device`) gets this machine's Node, the addon, and `hmar` and the benchmark as single programs;
// scripts/device-bench.sh runs them. Weights and peers are links into the repository, or with --copy copies.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'tsup'
import { root } from './run.mjs'

const { values, positionals } = parseArgs({
  options: { copy: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const folder = resolve(positionals[0] ?? join(root, '.device'))
const node = join(folder, 'node.xz')

for (const part of ['dist', 'addon', 'weights', 'goldens', 'bench/peers'])
  rmSync(join(folder, part), { recursive: true, force: true })
mkdirSync(join(folder, 'addon'), { recursive: true })

const addon = `hmar.${process.platform}-${process.arch}-gnu.node`
cpSync(join(root, 'packages/native/addon', addon), join(folder, 'addon', addon))
place('packages/shapes/weights', 'weights')
place('packages/shapes/goldens', 'goldens')
place('bench/peers', 'bench/peers')
writeFileSync(join(folder, 'commit.txt'), `${commit()}\n`)
await bundle()
// Node stays the same from time to time, and takes half a minute to compress.
if (!existsSync(node) || statSync(node).mtimeMs < statSync(process.execPath).mtimeMs)
  execFileSync('sh', ['-c', 'xz -6 -T0 -c "$1" > "$2"', 'sh', process.execPath, node])
console.log(execFileSync('du', ['-shc', ...listing()], { cwd: folder, encoding: 'utf8' }).trim())

function place(from, to) {
  const target = join(folder, to)
  mkdirSync(dirname(target), { recursive: true })
  if (values.copy) cpSync(join(root, from), target, { recursive: true })
  else symlinkSync(relative(dirname(target), join(root, from)), target)
}

/** Everything in one folder, so that the addon, the weights and the bench's processes are found beside it. */
async function bundle() {
  await build({
    config: false,
    silent: true,
    entry: {
      cli: join(root, 'packages/cli/src/bin.ts'),
      bench: join(root, 'apps/bench/src/main.ts'),
      child: join(root, 'apps/bench/src/child.ts'),
      'opening-child': join(root, 'apps/bench/src/opening-child.ts'),
      'compare-child': join(root, 'apps/bench/src/compare/child.ts'),
    },
    outDir: join(folder, 'dist'),
    format: 'esm',
    target: 'node20',
    platform: 'node',
    // sharp is a program of its own: what needs pictures as files does not run from here.
    noExternal: [/^(?!sharp$)/],
    external: ['sharp'],
    banner: {
      js: "import { createRequire as load } from 'node:module'; const require = load(import.meta.url);",
    },
    esbuildOptions(options) {
      options.conditions = ['hmar-source']
    },
  })
  writeFileSync(join(folder, 'dist/package.json'), '{ "type": "module" }\n')
}

function commit() {
  const git = (...words) => execFileSync('git', ['-C', root, ...words], { encoding: 'utf8' }).trim()
  return (
    git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '')
  )
}

function listing() {
  return ['node.xz', 'addon', 'dist', ...(values.copy ? ['weights', 'goldens', 'bench'] : [])]
}
