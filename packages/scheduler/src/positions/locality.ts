import { haltonOrder } from './halton.js'

/**
 * An order for tokens that are committed several at a time: those of one pass keep apart from one another, and close to
 * what is committed already (locality-aware parallel decoding, arXiv 2507.01957, as a greedy choice of our own).
 *
 * One after another, a pass takes the position nearest to the committed ones among those at least `repulsion` away from
 * all others of the pass; where there is none, the one farthest from them. Halton's order breaks ties. Distances are
 * squared and whole, so the order is the same everywhere.
 *
 * @param commits - How many tokens each pass commits; they sum to side².
 * @param repulsion - In positions.
 */
export function localityOrder(side: number, commits: readonly number[], repulsion: number): number[] {
  const open = haltonOrder(side)
  const toCommitted = new Array<number>(side * side).fill(Number.POSITIVE_INFINITY)
  const order: number[] = []
  for (const count of commits) {
    const toPass = new Array<number>(side * side).fill(Number.POSITIVE_INFINITY)
    const chosen: number[] = []
    while (chosen.length < count) {
      const next = nextOf(open, toPass, toCommitted, repulsion * repulsion)
      chosen.push(...open.splice(next, 1))
      approach(toPass, side, chosen.at(-1) as number)
    }
    for (const position of chosen) approach(toCommitted, side, position)
    order.push(...chosen)
  }
  return order
}

/** The index in `open` of the position to take next. */
function nextOf(
  open: readonly number[],
  toPass: readonly number[],
  toCommitted: readonly number[],
  apart: number,
): number {
  let best = 0
  for (let index = 1; index < open.length; index++) {
    const [a, b] = [open[index] as number, open[best] as number]
    const [far, farthest] = [toPass[a] as number, toPass[b] as number]
    const better =
      far >= apart && farthest >= apart
        ? (toCommitted[a] as number) < (toCommitted[b] as number)
        : far > farthest
    if (better) best = index
  }
  return best
}

/** Lowers the squared distances to a set that `position` joins. */
function approach(distances: number[], side: number, position: number): void {
  const [row, column] = [Math.floor(position / side), position % side]
  for (let y = 0, at = 0; y < side; y++)
    for (let x = 0; x < side; x++, at++) {
      const [down, right] = [y - row, x - column]
      distances[at] = Math.min(distances[at] as number, down * down + right * right)
    }
}
