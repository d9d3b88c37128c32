/**
 * The positions of a `side` × `side` map, row-major, as the Halton sequence of bases 2 (rows) and 3 (columns) comes to
 * them: far from one another, and evenly spread after any number of steps (arXiv 2503.17076).
 */
export function haltonOrder(side: number): number[] {
  const order = new Set<number>()
  for (let index = 1; order.size < side * side; index++)
    order.add(cell(index, 2, side) * side + cell(index, 3, side))
  return [...order]
}

/**
 * Which of `side` equal cells the radical inverse of a number lies in: its digits mirrored at the point. Computed in whole
 * numbers, and so exact.
 */
function cell(index: number, base: number, side: number): number {
  let numerator = 0
  let denominator = 1
  for (let rest = index; rest > 0; rest = Math.floor(rest / base)) {
    numerator = numerator * base + (rest % base)
    denominator *= base
  }
  return Math.floor((numerator * side) / denominator)
}
