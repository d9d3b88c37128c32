import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { synthesizeCheckpoint } from '@hmar/native'
import { modelPath } from '@hmar/shapes'

import { type BenchDevice, type BenchModel, synthetic } from './cases.js'

/**
 * The folder of a model's weights. Synthetic ones are made once and kept: in bfloat16 for a GPU, which multiplies nothing
 * else.
 *
 * @param under - where synthetic weights are kept
 */
export async function weightsFolder(model: BenchModel, device: BenchDevice, under: string): Promise<string> {
  if (model === 'shapes') return dirname(modelPath)
  const dtype = device === 'cuda' ? 'bf16' : 'f32'
  const folder = join(under, `synthetic-${model}-${dtype}`)
  // The configuration is written last: a folder without it was not finished.
  if (!existsSync(join(folder, 'config.json'))) {
    console.error(`Synthesizing ${model} into ${folder} …`)
    await synthesizeCheckpoint({ ...synthetic[model], layout: 'hmar', dtype, output: folder })
  }
  return folder
}
