import { beforeEach, describe, expect, it, vi } from 'vitest'

import { type AttentionShape, DeviceQueue } from './index.js'
import { type FakeBinding, fakeBinding } from './testing/fake-binding.js'

let fake: FakeBinding
vi.mock('./binding.js', () => ({ binding: () => fake }))

const gpu = { id: 'cuda:0', kind: 'cuda', name: 'Fake GPU', available: true, features: [] }
const shape: AttentionShape = { images: 2, heads: 3, segments: [1, 4, 9], pattern: 'diagonal' }
const rows = 2 * 14

beforeEach(() => {
  fake = fakeBinding()
  fake.devices = [gpu]
})

const outOfRange = expect.objectContaining({ code: 'ARGUMENT_OUT_OF_RANGE' })

describe('DeviceQueue', () => {
  it('says why there is no GPU', async () => {
    fake.devices = [{ ...gpu, available: false, reason: 'its driver is too old' }]
    await expect(DeviceQueue.open()).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      found: 'its driver is too old',
    })
  })

  it('closes what it made, then itself', async () => {
    const queue = await DeviceQueue.open('cuda:0')
    queue.attention(shape)
    queue.buffer('f32', 3)
    await queue.close()
    expect(fake.calls).toEqual([
      'open cuda:0',
      'plan diagonal',
      'close attention',
      'close buffer',
      'close queue',
    ])
    expect(() => queue.mark()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  it('refuses lengths and shapes that are none', async () => {
    await using queue = await DeviceQueue.open()
    expect(() => queue.buffer('f32', 0)).toThrow(outOfRange)
    expect(() => queue.buffer('f16' as 'f32', 1)).toThrow(outOfRange)
    expect(() => queue.buffer('f32', 1).fill(256)).toThrow(outOfRange)
    expect(() => queue.attention({ ...shape, segments: [] })).toThrow(outOfRange)
    expect(() => queue.attention({ ...shape, segments: [4, 0] })).toThrow(outOfRange)
    expect(() => queue.attention({ ...shape, heads: 1.5 })).toThrow(outOfRange)
  })

  it('measures between two marks', async () => {
    await using queue = await DeviceQueue.open()
    const begin = queue.mark()
    expect(await queue.mark().since(begin)).toBe(1)
  })
})

describe('DeviceBuffer', () => {
  it('gives back what was written', async () => {
    await using queue = await DeviceQueue.open()
    const buffer = await queue.from(Float32Array.of(1, 2, 3))
    expect(buffer).toMatchObject({ dtype: 'f32', length: 3 })
    expect([...(await buffer.read())]).toEqual([1, 2, 3])
    expect(await queue.from(Uint16Array.of(0x3f80))).toMatchObject({ dtype: 'bf16' })
  })

  it('refuses what does not fit', async () => {
    await using queue = await DeviceQueue.open()
    const buffer = queue.buffer('f32', 2)
    await expect(buffer.write(new Float32Array(3))).rejects.toThrow(outOfRange)
    await expect(buffer.write(new Uint16Array(2))).rejects.toThrow(outOfRange)
  })
})

describe('SegmentAttention', () => {
  it('counts what it computes and moves', async () => {
    await using queue = await DeviceQueue.open()
    const diagonal = queue.attention(shape)
    expect(diagonal.tokens).toBe(14)
    expect(diagonal.flops).toBe(4 * 2 * 3 * 64 * (1 + 16 + 81))
    expect(diagonal.bytes).toBe(4 * 2 * rows * 3 * 64)
    expect(queue.attention({ ...shape, pattern: 'causal' }).flops).toBe(4 * 2 * 3 * 64 * (1 + 4 * 5 + 9 * 14))
  })

  it('refuses buffers of another dtype or queue, shorter ones, and one given twice', async () => {
    await using queue = await DeviceQueue.open()
    await using other = await DeviceQueue.open()
    const attention = queue.attention(shape)
    const qkv = queue.buffer('bf16', rows * 9 * 64)
    const out = queue.buffer('bf16', rows * 3 * 64)
    const lse = queue.buffer('f32', rows * 3)
    expect(() => attention.forward({ qkv: lse, out })).toThrow(outOfRange)
    expect(() => attention.forward({ qkv, out: other.buffer('bf16', out.length) })).toThrow(outOfRange)
    expect(() => attention.forward({ qkv: out, out: qkv })).toThrow(outOfRange)
    expect(() => attention.forward({ qkv, out: qkv })).toThrow(outOfRange)
    expect(() => attention.forward({ qkv, out, lse, factors: lse })).toThrow(outOfRange)
    expect(fake.calls).not.toContain('forward')
    attention.forward({ qkv, out, lse })
    expect(fake.calls).toContain('forward')
  })

  it('queues gradients, of factors only where there are any', async () => {
    await using queue = await DeviceQueue.open()
    const attention = queue.attention(shape)
    const [qkv, dQkv] = [queue.buffer('bf16', rows * 9 * 64), queue.buffer('bf16', rows * 9 * 64)]
    const [out, dOut] = [queue.buffer('bf16', rows * 3 * 64), queue.buffer('bf16', rows * 3 * 64)]
    const lse = queue.buffer('f32', rows * 3)
    const [factors, dFactors] = [queue.buffer('f32', 3), queue.buffer('f32', 3)]
    expect(() => attention.backward({ qkv, out, lse, dOut: out, dQkv })).toThrow(outOfRange)
    expect(() => attention.backward({ qkv, out, lse, dOut, dQkv: dOut })).toThrow(outOfRange)
    expect(() => attention.backward({ qkv, out, lse, dOut, dQkv, dFactors })).toThrow(outOfRange)
    expect(fake.calls).not.toContain('backward')
    attention.backward({ qkv, out, lse, dOut, dQkv })
    attention.backward({ qkv, factors, out, lse, dOut, dQkv, dFactors })
    expect(fake.calls.filter((call) => call === 'backward')).toHaveLength(2)
  })

  it('refuses buffers that were closed', async () => {
    await using queue = await DeviceQueue.open()
    const attention = queue.attention(shape)
    const qkv = queue.buffer('bf16', rows * 9 * 64)
    const out = queue.buffer('bf16', rows * 3 * 64)
    await out.close()
    expect(() => attention.forward({ qkv, out })).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })
})
