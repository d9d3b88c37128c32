import { HmarError } from '@hmar/core'
import { HmarModel, type ModelLoadOptions, type ModelPath } from '@hmar/model'
import { type LoadOptions, loadOptionsShape, modeSchema } from '@hmar/native'
import { Tokenizer } from '@hmar/tokenizer'
import { z } from 'zod'

/** What to load, and how. Device, precision and threads are those of what is loaded here. */
export interface SamplerLoadOptions extends LoadOptions, Pick<ModelLoadOptions, 'config' | 'mode'> {
  /**
   * A model that was loaded before, which stays its owner's; or what to load: a file, a folder, `'shapes'`,
   * released weights that `hmar pull` has fetched (`'hmar-d16'`), or the files of a next-scale and a masked training, as for
   * `HmarModel.load`.
   */
  readonly model: ModelPath | HmarModel
  /**
   * A tokenizer that was loaded before, which stays its owner's; or its file or folder. Defaults to the one that the model
   * took its codebook from.
   */
  readonly tokenizer?: string | Tokenizer | undefined
}

export const isModel = (value: unknown): value is HmarModel => value instanceof HmarModel
export const isTokenizer = (value: unknown): value is Tokenizer => value instanceof Tokenizer

export const loadSchema = z.object({
  ...loadOptionsShape,
  model: z.union([z.string(), z.tuple([z.string(), z.string()]), z.custom<HmarModel>(isModel)]),
  tokenizer: z.union([z.string(), z.custom<Tokenizer>(isTokenizer)]).optional(),
  config: z.string().optional(),
  mode: modeSchema.optional(),
})

/**
 * Refuses a model and a tokenizer that do not belong together, or of which one is closed.
 *
 * @throws {HmarError} `CONFIG_INVALID`, `CLOSED`
 */
export function checkFit(model: HmarModel, tokenizer: Tokenizer): void {
  for (const part of [model, tokenizer]) part.assertOpen()
  const { codebookSize, codeDimension, pyramid } = model.config
  const differences = [
    ['codes', codebookSize, tokenizer.config.codebookSize],
    ['numbers a code', codeDimension, tokenizer.config.codeDimension],
    ['pyramid', pyramid.join(' '), (tokenizer.pyramid ?? pyramid).join(' ')],
  ].filter(([, ofModel, ofTokenizer]) => ofModel !== ofTokenizer)
  if (differences.length === 0) return
  throw new HmarError('CONFIG_INVALID', 'The tokenizer does not belong to the model.', {
    found: differences.map(([name, , ofTokenizer]) => `${name} ${ofTokenizer}`).join(', '),
    expected: differences.map(([name, ofModel]) => `${name} ${ofModel}`).join(', '),
  })
}
