import { unflattenTokens } from '@hmar/core'
import { largestDifference, readGoldens, rows } from '@hmar/native/testing'
import { tokenizerPath } from '@hmar/shapes'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { Tokenizer } from './tokenizer.js'

const golden = readGoldens('tiny-a')
const pictures = rows(golden.floats('images'))
const tokens = rows(golden.integers('enc_tokens'))
const side = 64

describe('the trained tokenizer', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await Tokenizer.load({ path: tokenizerPath, device: 'cpu' })
  })
  afterAll(() => tokenizer?.close())

  it('reads its pyramid beside its file', () => {
    expect(tokenizer.pyramid).toEqual([1, 2, 3, 4, 6, 8])
    expect(tokenizer.side).toBe(side)
  })

  it('encodes to the reference tokens, wherever they were not a near thing', async () => {
    const margins = rows(golden.floats('enc_margin'))
    for (const [index, data] of pictures.entries()) {
      const { scales } = await tokenizer.encode({ data: data.slice(), width: side, height: side })
      const encoded = scales.flatMap((map) => [...map])
      const wrong = encoded.filter((token, i) => token !== tokens[index]![i] && margins[index]![i]! > 1e-3)
      expect(encoded).toHaveLength(130)
      expect(wrong).toEqual([])
    }
  })

  it('encodes bytes as it encodes the floats that they stand for', async () => {
    const planes = pictures[0]!.map((value) => Math.round((value + 1) * 127.5) / 127.5 - 1)
    const area = side * side
    const data = Uint8Array.from({ length: 3 * area }, (_, i) =>
      Math.round((planes[(i % 3) * area + Math.floor(i / 3)]! + 1) * 127.5),
    )
    const size = { width: side, height: side }
    expect(await tokenizer.encode({ data, ...size })).toEqual(
      await tokenizer.encode({ data: planes, ...size }),
    )
  })

  it('decodes to the reference reconstruction, within one step of a byte', async () => {
    const reconstructions = rows(golden.floats('reconstruction'))
    for (const [index, flat] of tokens.entries()) {
      const image = await tokenizer.decode(unflattenTokens(flat, tokenizer.pyramid!))
      const area = side * side
      const expected = Float32Array.from(image.data, (_, i) => {
        const value = reconstructions[index]![(i % 3) * area + Math.floor(i / 3)]!
        return Math.floor((255 * (value + 1)) / 2 + 0.5)
      })
      expect(largestDifference(image.data, expected)).toBeLessThanOrEqual(1)
    }
  })

  it('comes nearer to the picture with every scale, and ends at the whole', async () => {
    const maps = unflattenTokens(tokens[0]!, tokenizer.pyramid!)
    const images = await tokenizer.decodeScales(maps)
    const whole = await tokenizer.decode(maps)
    expect(images).toHaveLength(6)
    expect(images.at(-1)?.data).toEqual(whole.data)
    const error = (data: Uint8Array) => data.reduce((sum, byte, i) => sum + (byte - whole.data[i]!) ** 2, 0)
    expect(error(images[4]!.data)).toBeLessThan(error(images[0]!.data))
  })
})
