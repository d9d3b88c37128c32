/** A picture's bytes, and what it is meant to show. */
export interface Labelled {
  readonly label: number
  readonly data: Uint8Array
}

/**
 * How different pictures of one label are from one another: the root of the mean squared difference of bytes over all
 * pairs, 0 to 255. Pixels that all agree on count as well, so compare figures of one kind of pictures only.
 */
export function diversity(pictures: readonly Labelled[]): number {
  let sum = 0
  let pairs = 0
  for (const [index, a] of pictures.entries())
    for (const b of pictures.slice(index + 1)) {
      if (a.label !== b.label) continue
      let squares = 0
      for (const [at, byte] of a.data.entries()) squares += (byte - (b.data[at] as number)) ** 2
      sum += squares / a.data.length
      pairs++
    }
  return pairs === 0 ? 0 : Math.sqrt(sum / pairs)
}
