import type { Pass } from '@hmar/core'

/**
 * Where the earliest pass with a difference is, in words: what comes after it follows from it.
 *
 * @param found - of each picture the token maps after every pass, one after another
 * @returns undefined where nothing differs
 */
export function firstDifference(
  passes: readonly Pass[],
  found: readonly Int32Array[],
  expected: readonly Int32Array[],
): string | undefined {
  let from = 0
  for (const [index, { side, scale, kind }] of passes.entries()) {
    const end = from + side ** 2
    for (const [picture, trace] of expected.entries())
      for (let at = from; at < end; at++) {
        const token = found[picture]?.[at]
        if (token === trace[at]) continue
        const pass = `pass ${index + 1} of ${passes.length} (scale ${scale}, ${kind})`
        return `${pass}, picture ${picture}, position ${at - from}: ${token} instead of ${trace[at]}`
      }
    from = end
  }
  return undefined
}
