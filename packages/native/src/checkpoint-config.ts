import { readFile } from 'node:fs/promises'
import { describeIssues, HmarError, SamplingConfig } from '@hmar/core'
import { z } from 'zod'

/** What the JSON beside a checkpoint adds to what the shapes of its tensors imply. Every field may be missing. */
const checkpointConfigSchema = z.looseObject({
  name: z.string().optional(),
  pyramid: z.array(z.number().int().positive()).min(1).optional(),
  labels: z.array(z.string()).optional(),
  model: z.looseObject({ file: z.string().optional() }).optional(),
  tokenizer: z.looseObject({ file: z.string().optional() }).optional(),
  sampling: SamplingConfig.optional(),
})

/** What the JSON beside a checkpoint says. */
export type CheckpointConfig = Readonly<z.output<typeof checkpointConfigSchema>>

/**
 * Reads a checkpoint's JSON; an empty one where there is none.
 *
 * @internal
 * @param path - the JSON itself
 * @throws {HmarError} `CONFIG_INVALID` if it is no JSON, or has fields of other types
 */
export async function readCheckpointConfig(path: string): Promise<CheckpointConfig> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return '{}'
    throw new HmarError('FILE_UNREADABLE', `The configuration '${path}' cannot be read: ${cause.message}`, {
      cause,
    })
  })
  try {
    return checkpointConfigSchema.parse(JSON.parse(text))
  } catch (cause) {
    const found = cause instanceof z.ZodError ? describeIssues(cause) : (cause as Error).message
    throw new HmarError(
      'CONFIG_INVALID',
      `The configuration '${path}' is not what stands beside a checkpoint.`,
      { found, cause },
    )
  }
}
