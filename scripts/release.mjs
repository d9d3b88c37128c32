// Publishes every package whose version is not in the registry yet: those of the platforms first, so that nobody installs
// @hmar/native without them. `--tag next` publishes beside `latest`.
import { existsSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run } from './run.mjs'
import { platformPackages, publishedPackages } from './workspace.mjs'

const { values } = parseArgs({ options: { tag: { type: 'string', default: 'latest' } } })
const platforms = platformPackages()

const missing = platforms.filter(({ folder, manifest }) => !existsSync(join(folder, manifest.main)))
if (missing.length > 0) {
  const names = missing.map(({ folder, manifest }) => relative(root, join(folder, manifest.main)))
  process.stderr.write(
    `Nothing is published before every platform has its addon. Missing: ${names.join(', ')}\n`,
  )
  process.exit(1)
}

nameRepository([...publishedPackages(), ...platforms])
const options = ['--access', 'public', '--no-git-checks', '--tag', values.tag]
const done =
  (await run('pnpm', ['--recursive', '--filter', './packages/native/npm/*', 'publish', ...options])).ok &&
  (
    await run('changeset', [
      'publish',
      ...(values.tag === 'latest' ? [] : ['--no-git-tag', '--tag', values.tag]),
    ])
  ).ok
if (!done) process.exitCode = 1

/** npm accepts a provenance only of the repository that a package names. A fork's packages name the fork. */
function nameRepository(packages) {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env
  if (repository === undefined) return
  for (const { folder, manifest } of packages) {
    const named = {
      ...manifest,
      repository: { type: 'git', url: `git+${server}/${repository}.git`, directory: relative(root, folder) },
    }
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(named, null, 2)}\n`)
  }
}
