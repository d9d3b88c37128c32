/** Where a random number comes from (§4.1): the seed, and what the number is for. */
export interface PhiloxAddress {
  /** Below 2⁶⁴. */
  readonly seed: bigint
  /** The position in the scale. */
  readonly position: number
  /** The pass's index in the plan. */
  readonly pass: number
  /** The picture's number within its job. */
  readonly image: number
  /** 0 token draw, 1 position noise, 2 soft decoding. */
  readonly purpose: number
}

/** The first word of Philox 4×32-10: a whole number below 2³², the same as the engine's. */
export function philox({ seed, position, pass, image, purpose }: PhiloxAddress): number {
  let key0 = Number(seed & 0xffffffffn)
  let key1 = Number(seed >> 32n)
  let [c0, c1, c2, c3] = [position, pass, image, purpose]
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = product(0xd2511f53, c0)
    const [high1, low1] = product(0xcd9e8d57, c2)
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ key0) >>> 0, low1, (high0 ^ c3 ^ key1) >>> 0, low0]
    key0 = (key0 + 0x9e3779b9) >>> 0
    key1 = (key1 + 0xbb67ae85) >>> 0
  }
  return c0
}

/** The upper and the lower word of a 64-bit product. */
function product(a: number, b: number): [high: number, low: number] {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carried = aLow * bHigh + (middle & 0xffff)
  return [
    (aHigh * bHigh + Math.floor(middle / 65_536) + Math.floor(carried / 65_536)) >>> 0,
    Math.imul(a, b) >>> 0,
  ]
}
