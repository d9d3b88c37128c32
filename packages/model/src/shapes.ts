import { HmarError } from '@hmar/core'

/** Where the embedded model's files are. */
export interface EmbeddedModel {
  readonly modelPath: string
  readonly tokenizerPath: string
}

/**
 * The embedded default model, from its package of its own: nobody else has to carry its weights.
 *
 * @throws {HmarError} `PACKAGE_MISSING` where `@hmar/shapes` is not installed
 */
export async function embeddedModel(
  load: () => Promise<EmbeddedModel> = () => import('@hmar/shapes'),
): Promise<EmbeddedModel> {
  try {
    return await load()
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new HmarError('PACKAGE_MISSING', "The model 'shapes' is in a package that is not installed.", {
      expected: '@hmar/shapes',
      remedy: 'Install it: npm install @hmar/shapes. A folder of that name is ./shapes.',
      cause,
    })
  }
}

const isMissing = (cause: unknown) =>
  cause instanceof Error &&
  'code' in cause &&
  (cause.code === 'ERR_MODULE_NOT_FOUND' || cause.code === 'MODULE_NOT_FOUND') &&
  cause.message.includes('@hmar/shapes')
