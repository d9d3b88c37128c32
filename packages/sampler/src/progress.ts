import type { NativeGenerateEvent } from '@hmar/native/binding'
import type { Plan } from '@hmar/scheduler'

import type { ImageEvent, PassEvent } from './stream.js'

interface BatchProgress {
  /** The batch's first image, counted within the call. */
  readonly firstImage: number
  /** Images of the batch. */
  readonly images: number
  /** How much of the call is done, 0 to 1. */
  readonly fraction: number
}

/** A batch has been through a pass of the plan. */
export interface PassProgress extends BatchProgress {
  readonly kind: 'pass'
  /** The pass in `plan.passes`, from 0. */
  readonly pass: number
  /** Passes of the plan. */
  readonly passes: number
  /** The scale it was at, from 1. */
  readonly scale: number
  readonly passKind: 'next-scale' | 'masked'
}

/** A batch has been decoded. */
export interface DecodeProgress extends BatchProgress {
  readonly kind: 'decode'
}

/** How far generating has come. */
export type GenerateProgress = PassProgress | DecodeProgress

/** Tells a native event in the terms of the plan. Decoding counts as one pass more. */
export function describeProgress(event: NativeGenerateEvent, plan: Plan, count: number): GenerateProgress {
  const { kind, firstImage, images } = event
  if (kind === 'decode') return { kind, firstImage, images, fraction: (firstImage + images) / count }
  const { pass, passes } = event
  const { scale, kind: passKind } = plan.passes[pass]!
  const fraction = (firstImage + (images * (pass + 1)) / (passes + 1)) / count
  return { kind, firstImage, images, pass, passes, scale, passKind, fraction }
}

/** Tells the events of a stream of one image, without its previews, in the same terms. */
export function progressOf(event: PassEvent | ImageEvent): GenerateProgress {
  const { fraction } = event
  if (event.kind === 'image') return { kind: 'decode', firstImage: event.index, images: 1, fraction }
  const { firstImage, index, passes, pass } = event
  const { scale, kind: passKind } = pass
  return { kind: 'pass', firstImage, images: 1, pass: index, passes, scale, passKind, fraction }
}
