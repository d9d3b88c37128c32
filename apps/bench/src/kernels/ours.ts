import type { DeviceBuffer, DeviceNumbers, DeviceQueue } from '@hmar/native'

import { type Summary, summarize } from '../statistics.js'
import type { KernelCase } from './cases.js'
import type { Direction, Timing } from './results.js'

/** Launches before the clock runs. */
const warmup = 5

/** Input sets that take turns: together they are far larger than a GPU's cache. */
const sets = 2

/** Of all heads: HMAR's before training. */
const factor = 4

/** What our kernels take of an attention and of its gradients. */
export async function measureOurs(
  queue: DeviceQueue,
  { shape }: KernelCase,
  repeats: number,
): Promise<{ readonly timings: Timing[]; readonly flops: number; readonly bytes: number }> {
  await using attention = queue.attention(shape)
  const { flops, bytes } = attention
  const rows = shape.images * attention.tokens * shape.heads
  const buffers: DeviceBuffer[] = []
  const keep = (buffer: DeviceBuffer) => {
    buffers.push(buffer)
    return buffer
  }
  const poisoned = (dtype: DeviceNumbers, length: number) => {
    const buffer = keep(queue.buffer(dtype, length))
    buffer.fill(255)
    return buffer
  }
  const noisy = async (length: number, seed: number) => keep(await queue.from(noise(length, seed)))

  const factors = keep(await queue.from(new Float32Array(shape.heads).fill(factor)))
  const inputs = await Promise.all(
    Array.from({ length: sets }, async (_, set) => ({
      qkv: await noisy(3 * rows * 64, set),
      dOut: await noisy(rows * 64, sets + set),
      out: poisoned('bf16', rows * 64),
      lse: poisoned('f32', rows),
    })),
  )
  const dQkv = poisoned('bf16', 3 * rows * 64)
  const dFactors = poisoned('f32', shape.heads)
  try {
    const forward = await time(queue, repeats, (turn) => {
      const { qkv, out } = inputs[turn % sets]!
      attention.forward({ qkv, factors, out })
    })
    for (const { qkv, out, lse } of inputs) attention.forward({ qkv, factors, out, lse })
    const backward = await time(queue, repeats, (turn) => {
      attention.backward({ ...inputs[turn % sets]!, factors, dQkv, dFactors })
    })
    for (const written of [...inputs.flatMap(({ out, lse }) => [out, lse]), dQkv, dFactors])
      if (!(await written.read()).every((value) => Number.isFinite(value)))
        throw new Error('An attention left numbers unwritten: its times mean nothing.')
    const timings = [timing('forward', forward, flops), timing('backward', backward, 2.5 * flops)]
    return { timings, flops, bytes }
  } finally {
    await Promise.all(buffers.map((buffer) => buffer.close()))
  }
}

/** Milliseconds of what `run` queues, its inputs taking turns. */
async function time(queue: DeviceQueue, repeats: number, run: (turn: number) => void): Promise<Summary> {
  const times: number[] = []
  for (let turn = 0; turn < warmup + repeats; turn++) {
    // One that is not measured goes first: in an empty queue, time would run until the launch arrives.
    run(turn + 1)
    const begin = queue.mark()
    run(turn)
    const milliseconds = await queue.mark().since(begin)
    if (turn >= warmup) times.push(milliseconds)
  }
  return summarize(times)
}

const timing = (direction: Direction, time: Summary, flops: number): Timing => ({
  engine: 'hmar',
  direction,
  milliseconds: time.median,
  time,
  teraflops: flops / time.median / 1e9,
})

/** Different numbers of {@link noise}, a prime: rows do not repeat before it does. */
const different = 65_521

/** About normal bfloat16 numbers, again and again the same: making them takes no longer than measuring. */
export function noise(length: number, seed: number): Uint16Array {
  const floats = Float32Array.from({ length: different }, (_, i) => normal(i + 1, seed + 1))
  // The upper half of a float32 is a bfloat16.
  const halves = new Uint16Array(floats.buffer).filter((_, i) => i % 2 === 1)
  const all = new Uint16Array(length)
  for (let at = 0; at < length; at += different) all.set(halves.subarray(0, length - at), at)
  return all
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
