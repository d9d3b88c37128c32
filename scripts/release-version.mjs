// Moves versions and changelogs as the changesets say, and the engine's version with that of @hmar/native, which refuses an
// addon of another one. Options go to `changeset version`, e.g. `--snapshot next`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'

const cargoToml = join(root, 'kernels-rs', 'Cargo.toml')

const done =
  (await run('changeset', ['version', ...process.argv.slice(2)])).ok &&
  setEngineVersion(versionOf('packages/native')) &&
  (await run('cargo', ['update', '--workspace', '--offline', '--quiet', '--manifest-path', cargoToml])).ok &&
  (await run('pnpm', ['install', '--lockfile-only', '--prefer-offline'])).ok
if (!done) process.exitCode = 1

function setEngineVersion(version) {
  const text = readFileSync(cargoToml, 'utf8')
  const changed = text.replace(/(?<=^\[workspace\.package\]\nversion = ")[^"]+/m, version)
  writeFileSync(cargoToml, changed)
  return changed.includes(`version = "${version}"`)
}

function versionOf(folder) {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')).version
}
