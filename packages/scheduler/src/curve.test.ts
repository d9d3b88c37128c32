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
})
