// The tests that call the addon, with the addon under AddressSanitizer: npm run test:asan [-- what vitest shall run]
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepare } from './prepare.mjs'
import { root, run } from './run.mjs'

if (process.platform !== 'linux') {
  process.stderr.write('AddressSanitizer is set up for Linux only.\n')
  process.exit(1)
}
const target = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`
const folder = join(root, 'kernels-rs', 'target', 'asan')

// The stable compiler has the sanitizer, behind a switch meant for nightly ones.
const build = ['build', '--manifest-path', 'kernels-rs/Cargo.toml', '--package', 'hmar-napi']
const { ok: built } = await run('cargo', [...build, '--target', target, '--target-dir', folder], {
  HMAR_NVCC: '',
  RUSTC_BOOTSTRAP: '1',
  RUSTFLAGS: '-Zsanitizer=address -Cforce-frame-pointers=yes',
})
// What the other tests need is built as always.
if (!built || !(await prepare())) process.exit(1)

const addon = join(folder, 'hmar.node')
copyFileSync(join(folder, target, 'debug', 'libhmar_napi.so'), addon)
// An addon is no program: the sanitizer's own library has to be loaded before Node is.
const { output } = await run('cc', ['-print-file-name=libasan.so'])
const asked = process.argv.slice(2)
const tests =
  asked.length > 0 ? asked : ['native', 'tokenizer', 'model', 'sampler'].map((name) => `packages/${name}`)
const config = fileURLToPath(new URL('vitest-sanitizer.config.mjs', import.meta.url))
const { ok } = await run('vitest', ['run', '--config', config, '--testTimeout', '300000', ...tests], {
  HMAR_ADDON: addon,
  SANITIZER_LIBRARY: output.trim(),
  // What Node itself leaves behind when it ends is not the addon's; V8 catches faults of its own.
  ASAN_OPTIONS: 'detect_leaks=0:allow_user_segv_handler=1',
})
process.exitCode = ok ? 0 : 1
