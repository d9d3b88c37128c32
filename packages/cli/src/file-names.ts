/** A label's name as part of a file's name: `'Granny Smith'` → `granny-smith`. */
export const slug = (name: string) =>
  name
    .toLowerCase()
    .replaceAll(/[^\p{Letter}\p{Number}]+/gu, '-')
    .replaceAll(/^-|-$/g, '')

/** Names of PNGs after what they show: `star.png`, or `star-1.png`, `star-2.png`, … where there are several. */
export function pictureNames(names: readonly string[]): string[] {
  const stems = names.map(slug)
  const totals = new Map<string, number>()
  for (const stem of stems) totals.set(stem, (totals.get(stem) ?? 0) + 1)
  const used = new Map<string, number>()
  return stems.map((stem) => {
    const total = totals.get(stem) as number
    if (total === 1) return `${stem}.png`
    const number = (used.get(stem) ?? 0) + 1
    used.set(stem, number)
    return `${stem}-${String(number).padStart(String(total).length, '0')}.png`
  })
}
