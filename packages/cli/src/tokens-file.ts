import { describeIssues, HmarError, type TokenMaps } from '@hmar/core'
import { z } from 'zod'

const schema = z.object({ scales: z.array(z.array(z.int32().nonnegative())).min(1) })

/** Token maps as `hmar encode` writes them: `{ "scales": [[5], [1, 2, 3, 4], …] }`, p² tokens for a scale of side p. */
export const formatTokens = ({ scales }: TokenMaps) => ({ scales: scales.map((tokens) => [...tokens]) })

/**
 * Reads what {@link formatTokens} wrote. Whether it fits a tokenizer is the tokenizer's to say.
 *
 * @throws {HmarError} `IMAGE_INVALID` if it is something else
 */
export function parseTokens(text: string): TokenMaps {
  const parsed = schema.safeParse(parseJson(text))
  if (!parsed.success) throw notTokens(describeIssues(parsed.error))
  return { scales: parsed.data.scales.map((tokens) => Int32Array.from(tokens)) }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw notTokens((cause as Error).message, cause)
  }
}

const notTokens = (found: string, cause?: unknown) =>
  new HmarError('IMAGE_INVALID', 'This is no tokens file.', {
    found,
    expected: '{"scales": [[5], [1, 2, 3, 4], …]}',
    remedy: "'hmar encode PICTURE --out TOKENS.json' writes one.",
    cause,
  })
