import { stat } from 'node:fs/promises'
import { HmarModel } from '@hmar/model'
import { modelPath } from '@hmar/shapes'
import { expect, it } from 'vitest'

import { HmarSampler } from './sampler.js'

it('is one model’s, however many samplers share it, and buffers come and go', async () => {
  await using model = await HmarModel.load({ path: 'shapes', device: 'cpu' })
  const { weightBytes, batchBytes } = model.memory()
  // The file is bfloat16, the weights float32; the codebook is the tokenizer's.
  const { size } = await stat(modelPath)
  expect(weightBytes / (2 * size)).toBeGreaterThan(0.98)
  expect(weightBytes / (2 * size)).toBeLessThan(1.05)
  expect(batchBytes).toBe(0)

  const samplers = [await HmarSampler.load({ model }), await HmarSampler.load({ model })]
  const held = []
  for (const sampler of samplers) {
    await sampler.generate({ labels: [0, 1] })
    held.push(model.memory().batchBytes)
  }
  const [one, two] = held as [number, number]
  expect(one).toBeGreaterThan(2 * 2 * 64 * 1024 * 4) // the logits alone
  expect(two).toBe(2 * one)
  expect(model.memory().weightBytes).toBe(weightBytes)

  const session = await samplers[0]!.open({ labels: [0, 1] })
  expect(model.memory().batchBytes).toBe(3 * one)
  for await (const { kind } of samplers[0]!.stream({ labels: Array(20).fill(0), batchSize: 2 })) {
    expect(model.memory().batchBytes).toBe(4 * one)
    if (kind === 'image') break
  }
  await session.close()
  expect(model.memory().batchBytes).toBe(2 * one)
  await Promise.all(samplers.map((sampler) => sampler.close()))
  expect(model.memory()).toEqual({ weightBytes, batchBytes: 0 })
  await model.close()
  expect(() => model.memory()).toThrow('closed')
})

it('is what decoding keeps', async () => {
  await using sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  const { tokenizer } = sampler
  expect(tokenizer.memory().workingBytes).toBe(0)
  await sampler.generate({ labels: [0] })
  const { weightBytes, workingBytes } = tokenizer.memory()
  expect(weightBytes).toBe(tokenizer.weightBytes)
  expect(workingBytes).toBeGreaterThan(0)
  await sampler.generate({ labels: [0] })
  expect(tokenizer.memory().workingBytes).toBe(workingBytes)
})
