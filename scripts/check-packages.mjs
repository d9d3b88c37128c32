// Packs every public package as it would be published and asks publint and "are the types wrong" about it.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { must, root, run } from './run.mjs'

await prepare()
const folder = mkdtempSync(join(tmpdir(), 'hmar-packages-'))
for (const name of readdirSync(join(root, 'packages'))) {
  const { bin, private: isPrivate } = JSON.parse(
    readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
  )
  if (isPrivate) continue
  const archive = join(folder, `${name}.tgz`)
  await must('pnpm', ['--dir', join('packages', name), 'pack', '--out', archive])
  const checks = [await run('publint', ['run', '--strict', archive])]
  // A command has no types.
  if (bin === undefined) checks.push(await run('attw', ['--profile', 'node16', archive]))
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1
}
rmSync(folder, { recursive: true })
