import type { DeviceQueue } from '@hmar/native'

import { summarize } from '../statistics.js'
import type { KernelCase } from './cases.js'
import type { Timing } from './results.js'

/** Launches before the clock runs. */
const warmup = 5

/** Input sets that take turns: together they are far larger than a GPU's cache. */
const sets = 2

/** Of all heads: HMAR's before training. */
const factor = 4

/** What our kernels take of an attention. */
export async function measureOurs(
  queue: DeviceQueue,
  { shape }: KernelCase,
  repeats: number,
): Promise<{ readonly timings: Timing[]; readonly flops: number; readonly bytes: number }> {
  const attention = queue.attention(shape)
  const { flops, bytes } = attention
  const length = shape.images * attention.tokens * shape.heads * 64
  const factors = await queue.from(new Float32Array(shape.heads).fill(factor))
  const out = queue.buffer('bf16', length)
  const inputs = await Promise.all(
    Array.from({ length: sets }, async (_, set) => {
      const qkv = queue.buffer('bf16', 3 * length)
      await qkv.write(noise(3 * length, set))
      return qkv
    }),
  )
  out.fill(255)
  const forward = (turn: number) => attention.forward({ qkv: inputs[turn % sets]!, factors, out })
  const times: number[] = []
  for (let turn = 0; turn < warmup + repeats; turn++) {
    // One that is not measured goes first: in an empty queue, time would run until the launch arrives.
    forward(turn + 1)
    const begin = queue.mark()
    forward(turn)
    const milliseconds = await queue.mark().since(begin)
    if (turn >= warmup) times.push(milliseconds)
  }
  const written = (await out.read()).every((value) => Number.isFinite(value))
  await Promise.all([attention, factors, out, ...inputs].map((resource) => resource.close()))
  if (!written) throw new Error('The attention left numbers unwritten: its times mean nothing.')
  const time = summarize(times)
  const timing = {
    engine: 'hmar',
    direction: 'forward',
    milliseconds: time.median,
    time,
    teraflops: flops / time.median / 1e9,
  } as const
  return { timings: [timing], flops, bytes }
}

/** About normal bfloat16 numbers: a few thousand different ones, so that making them takes no longer than measuring. */
function noise(length: number, seed: number): Uint16Array {
  const pool = 65_521
  const floats = Float32Array.from({ length: pool }, (_, i) => normal(i + 1, seed + 1))
  const bits = new Uint16Array(floats.buffer)
  // The upper half of a float32 is a bfloat16.
  return Uint16Array.from({ length }, (_, i) => bits[2 * (i % pool) + 1]!)
}

/** Box and Muller's normal number of two hashes. */
function normal(index: number, seed: number): number {
  const radius = Math.sqrt(-2 * Math.log(uniform(index, seed)))
  return radius * Math.cos(2 * Math.PI * uniform(index, seed + 7919))
}

const uniform = (index: number, seed: number) => {
  const mixed = Math.imul(Math.imul(index, 0x9e3779b1) ^ seed, 0x85ebca6b)
  return (((mixed ^ (mixed >>> 15)) >>> 0) + 1) / 2 ** 32
}
