// Writes what a release is made of, as CycloneDX: the npm packages that installing all of it brings, and the crates in the
// addon. `node scripts/sbom.mjs <folder>`, once the packages are in the registry; needs cargo-cyclonedx.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { emptyProject } from '../checks/empty-project.mjs'
import { runTool } from '../checks/run-tool.mjs'
import { root } from './run.mjs'
import { publishedPackages } from './workspace.mjs'

const folder = resolve(process.argv[2] ?? 'sbom')
mkdirSync(folder, { recursive: true })
const registry = process.env.npm_config_registry
writeFileSync(join(folder, 'npm.cdx.json'), packages(registry ? { npm_config_registry: registry } : {}))
renameSync(crates(), join(folder, 'addon.cdx.json'))

function packages(env) {
  const versions = publishedPackages().map(({ name, manifest }) => [name, manifest.version])
  const project = emptyProject(Object.fromEntries(versions), [], env)
  try {
    return runTool('npm', ['sbom', '--sbom-format', 'cyclonedx'], { folder: project.folder, env })
  } finally {
    project.remove()
  }
}

/** @returns the file, which cargo-cyclonedx writes beside each crate of the workspace */
function crates() {
  const crate = join(root, 'kernels-rs', 'crates', 'hmar-napi')
  runTool('cargo', [
    ...['cyclonedx', '--manifest-path', join(crate, 'Cargo.toml'), '--format', 'json'],
    ...['--spec-version', '1.5', '--target', 'all', '--override-filename', 'addon.cdx'],
  ])
  return join(crate, 'addon.cdx.json')
}
