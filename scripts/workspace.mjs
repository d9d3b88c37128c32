import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './run.mjs'

/**
 * @typedef {{ name: string, folder: string, manifest: Record<string, any> }} Package
 */

/** The libraries and the command line, as they stand in the workspace: all of `packages` that is published. */
export const publishedPackages = (repository = root) => packagesIn(join(repository, 'packages'))

/** The packages that hold the addon, one for each platform. */
export const platformPackages = (repository = root) =>
  packagesIn(join(repository, 'packages', 'native', 'npm'))

/**
 * The entry points of a library as its users get them: the name they import, and the files of both module systems.
 *
 * @param {Package} library
 */
export function entryPoints({ name, folder, manifest }) {
  return Object.entries(manifest.publishConfig.exports ?? {}).flatMap(([key, target]) =>
    target.import === undefined
      ? []
      : [
          {
            id: key.replace('.', name),
            code: join(folder, target.import.default),
            types: join(folder, target.import.types),
          },
        ],
  )
}

/** @returns {Package[]} */
function packagesIn(parent) {
  return readdirSync(parent)
    .map((name) => join(parent, name))
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .map((folder) => {
      const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      return { name: manifest.name, folder, manifest }
    })
    .filter(({ manifest }) => manifest.private !== true)
}
