/** How many elements of two lists of one length differ. */
export function countDifferences(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let differences = 0
  for (let i = 0; i < expected.length; i++) if (found[i] !== expected[i]) differences++
  return differences
}

/** The largest difference between elements; infinite where only one of them is a number. */
export function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(found[i]! - expected[i]!)
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
  }
  return largest
}

/** Root mean square of the differences over the expected values' standard deviation. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  const count = expected.length
  let [sum, squares, differences] = [0, 0, 0]
  for (let i = 0; i < count; i++) {
    sum += expected[i]!
    squares += expected[i]! ** 2
    differences += (found[i]! - expected[i]!) ** 2
  }
  const error = Math.sqrt(differences / (squares - sum ** 2 / count))
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error
}

/** Peak signal-to-noise ratio of bytes, in decibels. */
export function signalToNoise(found: Uint8Array, expected: Uint8Array): number {
  let squares = 0
  for (let i = 0; i < expected.length; i++) squares += (found[i]! - expected[i]!) ** 2
  return 10 * Math.log10(255 ** 2 / (squares / expected.length))
}
