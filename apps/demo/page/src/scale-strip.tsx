import type { Picture } from './picture'

/** A small picture of what each scale shows. */
export function ScaleStrip({ picture }: { readonly picture: Picture }) {
  return (
    <ol class="strip" aria-label="Scales so far">
      {picture.scales.map((scale, index) => (
        <li key={index} class={scale ? 'there' : ''}>
          {scale && <img src={scale} alt={`Scale ${index + 1}`} />}
        </li>
      ))}
    </ol>
  )
}
