import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { platformPackages, publishedPackages } from '../scripts/workspace.mjs'
import { runTool } from './run-tool.mjs'

/** Packs every package as it would be published, once for all checks; they get `inject('tarballs')`, by name. */
export default function pack({ provide }) {
  const folder = mkdtempSync(join(tmpdir(), 'hmar-packed-'))
  const tarballs = {}
  for (const { name, folder: source } of [...publishedPackages(), ...builtPlatforms(folder)]) {
    tarballs[name] = join(folder, `${name.replace('@hmar/', '')}.tgz`)
    runTool('pnpm', ['pack', '--out', tarballs[name]], { folder: source })
  }
  provide('tarballs', tarballs)
  return () => rmSync(folder, { recursive: true })
}

/** The platform packages whose addon was built here: copies that hold it. */
function builtPlatforms(folder) {
  return platformPackages().flatMap(({ name, folder: source, manifest }) => {
    const addon = join(source, '..', '..', 'addon', manifest.files[0])
    if (!existsSync(addon)) return []
    const copy = join(folder, basename(source))
    cpSync(source, copy, { recursive: true })
    cpSync(addon, join(copy, manifest.files[0]))
    return [{ name, folder: copy }]
  })
}
