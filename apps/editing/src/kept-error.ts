import type { KeepMask } from '@hmar/sampler'

/** The root of the mean squared difference of bytes, over the pixels that a mask of the pictures' side keeps. */
export function keptError(
  pairs: readonly (readonly [a: Uint8Array, b: Uint8Array])[],
  { data }: KeepMask,
): number {
  let [sum, count] = [0, 0]
  for (const [a, b] of pairs)
    for (const [at, value] of a.entries())
      if (data[Math.floor(at / 3)] === 1) {
        sum += (value - (b[at] as number)) ** 2
        count++
      }
  return Math.sqrt(sum / count)
}
