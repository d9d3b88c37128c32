import type { Picture } from './picture'

interface Properties {
  readonly picture: Picture
  readonly pyramid: readonly number[]
}

/** A small picture of what each scale shows. */
export function ScaleStrip({ picture }: Omit<Properties, 'pyramid'>) {
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
