import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { HmarSampler } from './sampler.js'

describe('labels of the embedded model', () => {
  let sampler: HmarSampler
  beforeAll(async () => {
    sampler = await HmarSampler.load({ model: 'shapes', device: 'cpu' })
  })
  afterAll(() => sampler?.close())

  const tokens = async (label: number | string | null) =>
    (await sampler.generate({ labels: [label], seed: 13 })).tokens

  it('are the same by name, in any case, and by number', async () => {
    const byNumber = await tokens(3)
    expect(await tokens('star')).toEqual(byNumber)
    expect(await tokens('STAR')).toEqual(byNumber)
    expect(await tokens(6)).not.toEqual(byNumber)
  })

  it('may be left out', async () => {
    expect(await tokens(null)).not.toEqual(await tokens(0))
  })

  it('are suggested where one is mistyped', async () => {
    await expect(tokens('hart')).rejects.toThrow('Did you mean "heart"?')
  })
})
