import type { Picture } from './picture'
import { PictureCard } from './picture-card'

interface Properties {
  /** The default's picture and that of the composed schedule. */
  readonly pair: readonly Picture[]
  readonly inspect: (id: number) => void
  readonly remove: (id: number) => void
}

const titles = { default: 'The model’s schedule', yours: 'Your schedule' }

/** One label, one seed, two schedules. */
export function Comparison({ pair, inspect, remove }: Properties) {
  const [first] = pair as [Picture]
  const sides = pair.toSorted((a, b) => a.pair!.role.localeCompare(b.pair!.role))
  return (
    <section class="comparison" aria-label={`Comparison of schedules: ${first.title}`}>
      {sides.map((picture) => (
        <div key={picture.id}>
          <h3>{titles[picture.pair!.role]}</h3>
          <PictureCard picture={picture} inspect={inspect} remove={remove} />
        </div>
      ))}
    </section>
  )
}
