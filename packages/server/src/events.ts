import type { Recipe } from '@hmar/core'

import type { ErrorBody } from './server-error.js'

/** A request waits. */
export interface QueuedEvent {
  readonly kind: 'queued'
  /** Requests before it; 0 is next. */
  readonly position: number
  /** Until it begins, as far as can be said. */
  readonly waitMs?: number | undefined
}

/** A request's images are being made. */
export interface StartedEvent {
  readonly kind: 'started'
  /** Images made together, those of other requests included. */
  readonly batch: number
}

/** A pass is done for all images of a request, or a part of them. */
export interface PassEvent {
  readonly kind: 'pass'
  /** Its index in the plan. */
  readonly index: number
  /** Passes of the plan. */
  readonly passes: number
  /** The scale, from 1. */
  readonly scale: number
  readonly passKind: 'next-scale' | 'masked'
  /** How much of the request is done, 0 to 1. */
  readonly fraction: number
}

/** What an image shows after a scale that is not the last. */
export interface PreviewEvent {
  readonly kind: 'preview'
  /** The image's number within the request. */
  readonly image: number
  /** The scale, from 1. */
  readonly scale: number
  /** JPEG, in base64. */
  readonly jpeg: string
}

/** An image is done. */
export interface ImageEvent {
  readonly kind: 'image'
  /** Its number within the request. */
  readonly image: number
  /** PNG with the recipe inside, in base64. */
  readonly png: string
  readonly recipe: Recipe
  /** Σ p² tokens, scale 1 first. */
  readonly tokens: readonly number[]
}

/** All images are done. */
export interface DoneEvent {
  readonly kind: 'done'
  readonly images: number
  /** Since the request came. */
  readonly milliseconds: number
}

/** The request failed; nothing follows. */
export interface ErrorEvent extends ErrorBody {
  readonly kind: 'error'
}

/** What happens to a request, in order: `queued`, `started`, then passes, previews and images, and `done` or `error`. */
export type ServerEvent =
  | QueuedEvent
  | StartedEvent
  | PassEvent
  | PreviewEvent
  | ImageEvent
  | DoneEvent
  | ErrorEvent
