import type { HmarImage } from '@hmar/tokenizer'
import { describe, expectTypeOf, it } from 'vitest'

import {
  type GenerateOptions,
  type GenerateProgress,
  type GenerateResult,
  HmarError,
  type HmarErrorCode,
  HmarSampler,
  type SamplerLoadOptions,
  type Session,
  type StreamEvent,
} from './index.js'

declare const sampler: HmarSampler

describe('HmarSampler', () => {
  it('is loaded, never constructed', () => {
    expectTypeOf(HmarSampler.load).parameter(0).toEqualTypeOf<SamplerLoadOptions>()
    expectTypeOf(HmarSampler.load).returns.resolves.toEqualTypeOf<HmarSampler>()
    // @ts-expect-error: the constructor is private.
    new HmarSampler()
  })

  it('closes at the end of an `await using` block', () => {
    expectTypeOf<HmarSampler>().toExtend<AsyncDisposable>()
    expectTypeOf<Session>().toExtend<AsyncDisposable>()
  })
})

describe('generate', () => {
  it('takes labels by index, by name, or none', () => {
    expectTypeOf<GenerateOptions['labels']>().toEqualTypeOf<readonly (number | string | null)[]>()
    // @ts-expect-error: labels are required.
    void sampler.generate({ seed: 1 })
  })

  it('takes seeds beyond what a number holds', () => {
    expectTypeOf<GenerateOptions['seed']>().toEqualTypeOf<number | bigint | undefined>()
  })

  it('refuses options that it does not know', () => {
    // @ts-expect-error: it is `labels`.
    void sampler.generate({ labels: [1], label: 1 })
  })

  it('results in images, tokens, timings and the plan, none of which can be assigned', () => {
    expectTypeOf(sampler.generate).returns.resolves.toEqualTypeOf<GenerateResult>()
    expectTypeOf<GenerateResult['images']>().toEqualTypeOf<readonly HmarImage[]>()
    expectTypeOf<GenerateResult>().toEqualTypeOf<Readonly<GenerateResult>>()
    expectTypeOf<HmarImage['data']>().toExtend<Uint8Array>()
  })

  it('tells progress by kind', () => {
    expectTypeOf<GenerateProgress['kind']>().toEqualTypeOf<'pass' | 'decode'>()
  })
})

describe('stream', () => {
  it('is an iterable of events', () => {
    expectTypeOf(sampler.stream).returns.toExtend<AsyncIterable<StreamEvent>>()
  })

  it('tells events apart by their kind', () => {
    expectTypeOf<StreamEvent['kind']>().toEqualTypeOf<'pass' | 'preview' | 'image'>()
    type Of<Kind> = Extract<StreamEvent, { kind: Kind }>
    expectTypeOf<Of<'image'>>().toHaveProperty('image').toEqualTypeOf<HmarImage>()
    expectTypeOf<Of<'preview'>>().toHaveProperty('images').toEqualTypeOf<readonly HmarImage[]>()
    expectTypeOf<Of<'pass'>>().toHaveProperty('passes').toEqualTypeOf<number>()
    expectTypeOf<Of<'pass'>>().not.toHaveProperty('image')
  })
})

describe('errors', () => {
  it('have one of the known codes', () => {
    expectTypeOf<HmarError['code']>().toEqualTypeOf<HmarErrorCode>()
    expectTypeOf<'ADDON_MISSING'>().toExtend<HmarErrorCode>()
    expectTypeOf<string>().not.toExtend<HmarErrorCode>()
  })

  it('are recognised in what was caught', () => {
    const caught: unknown = undefined
    if (HmarError.isInstance(caught)) expectTypeOf(caught).toEqualTypeOf<HmarError>()
    expectTypeOf(HmarError.isInstance).guards.toEqualTypeOf<HmarError>()
  })
})
