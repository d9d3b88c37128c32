import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder above this file that holds the peers: the repository, or what it was packed into. */
function findRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url))
  for (let folder = start; dirname(folder) !== folder; folder = dirname(folder))
    if (existsSync(join(folder, 'bench/peers'))) return folder
  throw new Error(`No folder above ${start} holds bench/peers.`)
}

export const root = findRoot()
