import type { Pyramid, TokenizerConfig } from '@hmar/core'
import type { Work } from './work.js'

/**
 * The products of the tokenizer's decoder (§2.2), from the latent grid to pixels. A convolution a → b with a window of w
 * at a resolution of n pixels has w·a·b weights and n·w·a·b multiplications; attention over n pixels of c channels
 * multiplies 2·n²·c beside its convolutions.
 */
export function decoderCost(
  { channels, channelMultipliers, residualBlocks, codeDimension }: TokenizerConfig,
  pyramid: Pyramid,
  images: number,
  bytesPerWeight: number,
): Work {
  let pixels = (pyramid.at(-1) as number) ** 2
  let multiplications = 0
  let weights = 0

  const convolution = (from: number, to: number, window = 9) => {
    weights += window * from * to
    multiplications += pixels * window * from * to
  }
  const residual = (from: number, to: number) => {
    convolution(from, to)
    convolution(to, to)
    if (from !== to) convolution(from, to, 1)
  }
  const attention = (width: number) => {
    convolution(width, 3 * width, 1)
    convolution(width, width, 1)
    multiplications += 2 * pixels ** 2 * width
  }

  const widths = channelMultipliers.map((multiplier) => channels * multiplier)
  let width = widths.at(-1) as number
  convolution(codeDimension, codeDimension)
  convolution(codeDimension, width)
  residual(width, width)
  attention(width)
  residual(width, width)
  for (const [index, levelWidth] of widths.toReversed().entries()) {
    for (let block = 0; block <= residualBlocks; block++) {
      residual(width, levelWidth)
      width = levelWidth
      if (index === 0) attention(width)
    }
    if (index < widths.length - 1) {
      pixels *= 4
      convolution(width, width)
    }
  }
  convolution(width, 3)
  return { flops: 2 * images * multiplications, weightBytes: weights * bytesPerWeight }
}
