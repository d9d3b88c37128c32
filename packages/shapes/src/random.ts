/** A stream of doubles in [0, 1). */
export type RandomStream = () => number

const mask = (1n << 64n) - 1n

/**
 * A splitmix64 stream: the same seed gives the same numbers everywhere.
 *
 * @param seed - an integer; taken modulo 2⁶⁴
 */
export function seededRandom(seed: number | bigint): RandomStream {
  let state = BigInt(seed) & mask
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask
    let z = state
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
    z ^= z >> 31n
    return Number(z >> 11n) * 2 ** -53
  }
}
