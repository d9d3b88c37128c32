import type { TokenMaps } from '@hmar/core'
import type { Pass } from '@hmar/scheduler'
import type { HmarImage } from '@hmar/tokenizer'

import type { BatchOptions } from './sample-options.js'
import type { ScaleState, Session } from './session.js'

/** What to generate, and what to see of it on the way. */
export interface StreamOptions extends BatchOptions {
  /** Whether the picture so far is decoded after every scale. Defaults to true. */
  readonly previews?: boolean | undefined
}

interface BatchEvent {
  /** The batch's first image, counted within the call. */
  readonly firstImage: number
  /** How much of the call is done, 0 to 1. */
  readonly fraction: number
}

/** A batch has been through a pass of the plan. */
export interface PassEvent extends BatchEvent {
  readonly kind: 'pass'
  readonly pass: Pass
  /** The pass's index in the plan. */
  readonly index: number
  /** Passes of the plan. */
  readonly passes: number
  /** What it left of its scale, for each image of the batch. */
  readonly images: readonly ScaleState[]
}

/** A batch has finished a scale that is not the last: what its images show so far. */
export interface PreviewEvent extends BatchEvent {
  readonly kind: 'preview'
  /** The scale, from 1. */
  readonly scale: number
  readonly images: readonly HmarImage[]
}

/** An image is done. */
export interface ImageEvent {
  readonly kind: 'image'
  /** Its number within the call. */
  readonly index: number
  readonly image: HmarImage
  readonly tokens: TokenMaps
  /** How much of the call is done, 0 to 1. */
  readonly fraction: number
}

/** Something that generating has come to. */
export type StreamEvent = PassEvent | PreviewEvent | ImageEvent

/** One batch of a stream. */
interface Batch {
  readonly session: Session
  readonly firstImage: number
  /** Images of the call. */
  readonly count: number
  readonly previews: boolean
  readonly signal: AbortSignal | undefined
}

/** The events of a batch. Nothing runs ahead of its reader. */
export async function* streamBatch({
  session,
  firstImage,
  count,
  previews,
  signal,
}: Batch): AsyncGenerator<StreamEvent, void, void> {
  const { passes, pyramid } = session.plan
  while (!session.done) {
    const done = await session.step({ signal })
    // Decoding counts as one pass more.
    const share = session.next / (passes.length + 1)
    const place = { firstImage, fraction: (firstImage + share * session.count) / count }
    yield { kind: 'pass', ...place, ...done, passes: passes.length }
    const { scale } = done.pass
    const ends = passes[session.next]?.scale !== scale
    if (previews && ends && scale < pyramid.length)
      yield { kind: 'preview', ...place, scale, images: await session.pictures({ signal }) }
  }
  const images = await session.pictures({ signal })
  const { tokens } = session
  const fraction = (firstImage + session.count) / count
  for (const [offset, image] of images.entries())
    yield { kind: 'image', index: firstImage + offset, image, tokens: tokens[offset]!, fraction }
}
