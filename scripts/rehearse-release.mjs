// A release from end to end, to a registry that lasts as long as this does: versions, builds, publishes, installs from it,
// generates. All of it happens to a clone of HEAD in a temporary folder. `-- --snapshot next` rehearses a snapshot.
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { digestOfRepository, emptyProject } from '../checks/empty-project.mjs'
import { runTool } from '../checks/run-tool.mjs'
import { root } from './run.mjs'
import { startRegistry } from './scratch-registry.mjs'
import { platformPackages, publishedPackages } from './workspace.mjs'

const { snapshot } = parseArgs({ options: { snapshot: { type: 'string' } } }).values
const tag = snapshot ?? 'latest'
const folder = mkdtempSync(join(tmpdir(), 'hmar-rehearsal-'))
const clone = join(folder, 'clone')
const env = {
  CARGO_TARGET_DIR: join(folder, 'target'),
  npm_config_userconfig: join(folder, '.npmrc'),
  npm_config_cache: join(folder, 'npm-cache'),
}
const before = workingTree()
let registry

process.on('SIGINT', () => {
  registry?.kill()
  rmSync(folder, { recursive: true })
  process.exit(130)
})

try {
  step('Clone HEAD and install')
  runTool('git', ['clone', '--quiet', root, clone])
  copyCargoBuilds()
  inClone('npx', '--yes', 'pnpm@10.34.8', 'install', '--frozen-lockfile')

  step('Move the versions')
  inClone('node', 'scripts/release-version.mjs', ...(snapshot ? ['--snapshot', snapshot] : []))
  const packages = [...publishedPackages(clone), ...platformPackages(clone)]
  for (const { name, manifest } of packages) console.log(`  ${name} ${manifest.version}`)

  step('Build')
  inClone('node', 'scripts/build.mjs')
  const here = placeAddons()

  step('Publish')
  registry = await startRegistry(join(folder, 'registry'))
  useRegistry(registry.address)
  inClone('node', 'scripts/release.mjs', '--tag', tag)
  for (const { name, manifest } of packages) assertPublished(name, manifest.version)
  console.log(`  ${packages.length} packages`)

  step('Install from the registry and generate')
  const project = emptyProject({ '@hmar/sampler': tag, '@hmar/shapes': tag }, [], env)
  try {
    const installed = readdirSync(join(project.folder, 'node_modules', '@hmar'))
    assert.deepEqual(
      installed.filter((name) => name.startsWith('native-')).map((name) => `@hmar/${name}`),
      [here],
      'Of the addons, only the one of this platform is installed.',
    )
    const digest = project.run('generate.mjs')
    assert.equal(digest, digestOfRepository(clone), 'The pixels are those that the repository makes.')
    console.log(`  the pixels that the repository makes: ${digest}`)
  } finally {
    project.remove()
  }
} finally {
  await registry?.stop()
  rmSync(folder, { recursive: true })
}
assert.equal(workingTree(), before, 'The working tree is as it was.')
console.log('The release was rehearsed from end to end; nothing of it is left.')

function step(name) {
  console.log(`${name} …`)
}

function inClone(command, ...args) {
  return runTool(command, args, { folder: clone, env, minutes: 30 })
}

/** What cargo built here saves building every crate again. */
function copyCargoBuilds() {
  const builds = join(root, 'kernels-rs', 'target', 'release')
  if (existsSync(builds))
    cpSync(builds, join(env.CARGO_TARGET_DIR, 'release'), { recursive: true, preserveTimestamps: true })
}

/**
 * Puts every platform's addon where the release workflow puts it: the one that was built, and stand-ins, which npm must not
 * install here.
 *
 * @returns the name of the package that got the one that was built
 */
function placeAddons() {
  let here
  for (const { name, folder: target, manifest } of platformPackages(clone)) {
    const built = join(clone, 'packages', 'native', 'addon', manifest.main)
    if (existsSync(built)) {
      copyFileSync(built, join(target, manifest.main))
      here = name
    } else writeFileSync(join(target, manifest.main), 'A stand-in, for the rehearsal of a release.\n')
  }
  return here
}

/** Has npm and pnpm publish to the registry and install from it, with the token that npm insists on. */
function useRegistry(address) {
  env.npm_config_registry = address
  writeFileSync(
    env.npm_config_userconfig,
    `${address.replace('http:', '')}/:_authToken=rehearsal\nregistry=${address}/\n`,
  )
}

function assertPublished(name, version) {
  const published = JSON.parse(inClone('npm', 'view', `${name}@${version}`, '--json'))
  const manifest = Array.isArray(published) ? published[0] : published
  assert.equal(manifest?.['dist-tags'][tag], version, `${name} is in the registry as ${tag}.`)
  assert.doesNotMatch(JSON.stringify(manifest), /workspace:|catalog:/, `${name} asks for versions.`)
}

function workingTree() {
  return runTool('git', ['status', '--porcelain', '--ignored'])
}
