import type { Recipe } from '@hmar/core'
import type { ServerEvent } from '@hmar/server'

/** Where a picture comes from, if from another one. */
export type Origin =
  | { readonly kind: 'branch'; readonly of: number; readonly scale: number }
  | { readonly kind: 'edit'; readonly of: number }
  | { readonly kind: 'file'; readonly name: string }

/** A picture on the page, from its request on. */
export interface Picture {
  readonly id: number
  readonly model: string
  /** What it is to show. */
  readonly title: string
  /** Those that belong side by side. */
  readonly pair?: { readonly id: number; readonly role: 'default' | 'yours' }
  readonly origin?: Origin
  readonly state: 'waiting' | 'drawing' | 'done' | 'failed'
  /** What it waits for, or why it failed. */
  readonly note: string
  /** 0 to 1. */
  readonly fraction: number
  /** What it shows after each scale, as addresses; the last is the picture. */
  readonly scales: readonly (string | undefined)[]
  readonly recipe?: Recipe
  readonly tokens?: readonly number[]
  /** Whether it is the same as its recipe says. */
  readonly same?: boolean
}

/** The finished picture's address. */
export const finished = ({ scales, state }: Picture) => (state === 'done' ? scales.at(-1) : undefined)

/** What there is to see of it so far. */
export const shown = ({ scales }: Picture) => scales.findLast((scale) => scale !== undefined)

/** A picture after something has happened to its request; `image` is its number there. */
export function happened(picture: Picture, event: ServerEvent, image: number): Picture {
  switch (event.kind) {
    case 'queued':
      return { ...picture, note: describeWait(event) }
    case 'started':
      return { ...picture, state: 'drawing', note: 'Scale 1' }
    case 'pass': {
      const masked = event.passKind === 'masked' ? ', refined' : ''
      return { ...picture, fraction: event.fraction, note: `Scale ${event.scale}${masked}` }
    }
    case 'preview':
      if (event.image !== image) return picture
      return withScale(picture, event.scale, `data:image/jpeg;base64,${event.jpeg}`)
    case 'image': {
      if (event.image !== image) return picture
      const { recipe, tokens, png } = event
      const whole = withScale(picture, picture.scales.length, `data:image/png;base64,${png}`)
      return { ...whole, state: 'done', note: '', fraction: 1, recipe, tokens }
    }
    case 'error':
      return picture.state === 'done' ? picture : { ...picture, state: 'failed', note: event.error.message }
    case 'done':
      return picture
  }
}

const withScale = (picture: Picture, scale: number, address: string): Picture => ({
  ...picture,
  scales: picture.scales.with(scale - 1, address),
})

function describeWait({
  position,
  waitMs,
}: {
  readonly position: number
  readonly waitMs?: number | undefined
}) {
  const wait = waitMs === undefined ? '' : `, about ${Math.max(1, Math.round(waitMs / 1000))} s`
  return position === 0 ? `Next${wait}` : `${position} before it${wait}`
}
