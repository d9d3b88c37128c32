import { describe, expect, it } from 'vitest'
import { Curve, curveCommits } from './curve.js'

const curves = Curve.shape.curve.options

describe('curveCommits', () => {
  // By hand: N less the floor of the published share of N, then differences.
  it.each([
    [{ curve: 'uniform', steps: 3 }, 9, [3, 3, 3]],
    [{ curve: 'power', steps: 4 }, 16, [1, 3, 5, 7]],
    [{ curve: 'power', steps: 4, exponent: 1 }, 16, [4, 4, 4, 4]],
    [{ curve: 'cosine', steps: 8 }, 256, [5, 15, 24, 31, 39, 45, 48, 49]],
    [{ curve: 'logarithm', steps: 4 }, 16, [8, 4, 3, 1]],
    [{ curve: 'exponential', steps: 4 }, 16, [2, 2, 4, 8]],
    [{ curve: 'arccos', steps: 4 }, 256, [42, 44, 53, 117]],
    [{ curve: 'root', steps: 4 }, 256, [128, 54, 40, 34]],
  ] as [Curve, number, number[]][])('%j over %i tokens commits %j', (curve, tokens, expected) => {
    expect(curveCommits(curve, tokens)).toEqual(expected)
  })

  it.each(curves)('%s commits all tokens, at least one a step, at every size', (curve) => {
    for (let side = 1; side <= 32; side++)
      for (const steps of [1, 2, 3, 5, 8, 13, side, side * side].filter((count) => count <= side * side)) {
        const commits = curveCommits({ curve, steps }, side * side)
        expect(commits).toHaveLength(steps)
        expect(commits.reduce((sum, count) => sum + count)).toBe(side * side)
        expect(commits.every((count) => Number.isInteger(count) && count >= 1)).toBe(true)
      }
  })

  it('commits what Math’s functions say, whose last bits differ from platform to platform', () => {
    const shares: Record<Curve['curve'], (r: number, tokens: number) => number> = {
      uniform: (r) => 1 - r,
      power: (r) => 1 - r ** 2,
      cosine: (r) => Math.cos((Math.PI * r) / 2),
      logarithm: (r, tokens) => -Math.log2(r) / Math.log2(tokens),
      exponential: (r, tokens) => 1 - 2 ** (-Math.log2(tokens) * (1 - r)),
      arccos: (r) => (2 * Math.acos(r)) / Math.PI,
      root: (r) => 1 - Math.sqrt(r),
    }
    for (const curve of curves)
      for (const side of [2, 3, 5, 6, 9, 13, 16, 24, 32])
        for (const steps of [2, 3, 4, 5, 6, 8, 10, 12].filter((count) => count <= side)) {
          const tokens = side * side
          let before = tokens
          for (const [index, count] of curveCommits({ curve, steps }, tokens).slice(0, -1).entries()) {
            const wanted = Math.floor(shares[curve]((index + 1) / steps, tokens) * tokens + 1e-9)
            const masked = Math.max(steps - index - 1, Math.min(before - 1, wanted))
            expect(before - count).toBe(masked)
            before = masked
          }
        }
  })
})
