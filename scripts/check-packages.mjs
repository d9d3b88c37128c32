// Packs every public package as it would be published and asks publint and "are the types wrong" about it.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root, run } from './run.mjs'

if (!(await prepare())) process.exit(1)
const folder = mkdtempSync(join(tmpdir(), 'hmar-packages-'))
for (const name of readdirSync(join(root, 'packages'))) {
  const { bin, private: isPrivate } = JSON.parse(
    readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
  )
  if (isPrivate) continue
  const archive = join(folder, `${name}.tgz`)
  const checks = [
    await run('pnpm', ['--dir', join('packages', name), 'pack', '--out', archive]),
    await run('publint', ['run', '--strict', archive]),
  ]
  // A command has no types.
  if (bin === undefined) checks.push(await run('attw', ['--profile', 'node16', archive]))
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1
}
rmSync(folder, { recursive: true })
