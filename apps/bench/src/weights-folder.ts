import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { synthesizeCheckpoint } from '@hmar/native'
import { modelPath } from '@hmar/shapes'

import type { BenchModel } from './cases.js'

/**
 * The folder of a model's weights. Synthetic ones are made once and kept.
 *
 * @param root - the repository
 */
export async function weightsFolder(model: BenchModel, root: string): Promise<string> {
  if (model === 'shapes') return dirname(modelPath)
  const folder = join(root, 'node_modules/.cache/hmar-bench/synthetic-d16')
  // The configuration is written last: a folder without it was not finished.
  if (!existsSync(join(folder, 'config.json'))) {
    console.error(`Synthesizing d16 into ${folder} …`)
    await synthesizeCheckpoint({ depth: 16, layout: 'hmar', output: folder })
  }
  return folder
}
