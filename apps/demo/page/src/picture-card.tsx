import { type Picture, shown } from './picture'
import { ScaleStrip } from './scale-strip'

interface Properties {
  readonly picture: Picture
  readonly inspect: (id: number) => void
  readonly remove: (id: number) => void
}

/** A picture of the gallery: grows while it is drawn, opens when it is there. */
export function PictureCard({ picture, inspect, remove }: Properties) {
  const { id, title, state, note, fraction } = picture
  const address = shown(picture)
  return (
    <article class={`card ${state}`} aria-label={`Picture ${id}, ${title}`} aria-busy={state === 'drawing'}>
      <button
        type="button"
        class="open"
        disabled={state !== 'done'}
        aria-label={`Open picture ${id}, ${title}`}
        onClick={() => inspect(id)}
      >
        {address ? <img src={address} alt={title} /> : <span class="empty" aria-hidden="true" />}
        {(state === 'waiting' || state === 'drawing') && (
          <progress value={fraction} max="1" aria-label={`${title}: ${note}`} />
        )}
      </button>
      <ScaleStrip picture={picture} />
      <footer>
        <h3>{title}</h3>
        <p>{state === 'done' ? <Provenance picture={picture} /> : note}</p>
        <button type="button" class="remove" aria-label={`Remove picture ${id}`} onClick={() => remove(id)}>
          ×
        </button>
      </footer>
    </article>
  )
}

function Provenance({ picture: { origin, recipe, same } }: { readonly picture: Picture }) {
  if (same !== undefined)
    return <strong>{same ? 'The same, to the last pixel' : 'Not the same picture'}</strong>
  if (origin?.kind === 'branch')
    return (
      <>
        from {origin.of}, scale {origin.scale}
      </>
    )
  if (origin?.kind === 'edit') return <>redrawn from {origin.of}</>
  if (origin?.kind === 'file' || !recipe) return <>from a file</>
  return (
    <>
      seed {shortSeed(recipe.seed)}, image {recipe.image}
    </>
  )
}

const shortSeed = (seed: string) => (seed.length > 8 ? `${seed.slice(0, 7)}…` : seed)
