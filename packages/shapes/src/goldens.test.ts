import { describe, expect, it } from 'vitest'

import { readGoldens } from './goldens.js'
import { readSafetensors, rows } from './safetensors.js'

const reference = (name: string) =>
  readSafetensors(new URL(`../../../fixtures/golden/${name}.safetensors`, import.meta.url))

const goldens = readGoldens()

describe('the goldens that machines are held to', () => {
  it.each([
    ['default', 'tiny-a', 'generated_trace'],
    ['greedy', 'tiny-generations', 'greedy.trace'],
    ['refined', 'tiny-generations', 'long.trace'],
  ])('have the tokens of the PyTorch implementation: %s', (name, file, tensor) => {
    const generation = goldens.generations.find((candidate) => candidate.name === name)
    expect(generation?.traces).toEqual(rows(reference(file).integers(tensor)))
  })

  it('have its pictures, within one step of a byte', () => {
    const images = rows(reference('tiny-a').floats('generated_images'))
    const tokens = rows(reference('tiny-a').integers('generated_tokens'))
    expect(goldens.pictures.length).toBeGreaterThan(2)
    for (const picture of goldens.pictures) {
      const index = tokens.findIndex((candidate) => candidate.join() === picture.tokens.join())
      const planes = images[index]!
      const differences = picture.pixels.map((byte, i) =>
        Math.abs(byte - Math.floor(255 * planes[(i % 3) * 4096 + Math.floor(i / 3)]! + 0.5)),
      )
      expect(Math.max(...differences)).toBeLessThanOrEqual(1)
    }
  })

  it('fit together', () => {
    const positions = 130
    for (const { labels, traces } of goldens.generations) expect(traces).toHaveLength(labels.length)
    for (const { tokens, nextScale, masked } of goldens.logits) {
      expect(tokens).toHaveLength(positions)
      expect(nextScale).toHaveLength(positions * goldens.codes.length)
      expect(masked).toHaveLength((positions - 1) * goldens.codes.length)
      expect([...nextScale, ...masked].every(Number.isFinite)).toBe(true)
    }
    expect(goldens.scored.tokens).toHaveLength(goldens.scored.labels.length)
    expect(goldens.scored.nextScaleLoss).toBeLessThan(goldens.generatedLoss.mean + 0.1)
  })
})
