import { describe, expect, it } from 'vitest'
import { haltonOrder } from './halton.js'
import { localityOrder } from './locality.js'

const side = 8
const distance = (a: number, b: number) =>
  Math.hypot(Math.floor(a / side) - Math.floor(b / side), (a % side) - (b % side))

/** The smallest distance from a position to others. */
const nearest = (position: number, others: readonly number[]) =>
  Math.min(...others.map((other) => distance(position, other)))

const commits = [4, 8, 12, 16, 24]
const groupsOf = (order: readonly number[]) =>
  commits.map((count, step) => {
    const from = commits.slice(0, step).reduce((sum, before) => sum + before, 0)
    return order.slice(from, from + count)
  })

describe('localityOrder', () => {
  it('visits each position once', () => {
    expect(localityOrder(side, commits, 2).toSorted((a, b) => a - b)).toEqual([...Array(64).keys()])
  })

  it('keeps the tokens of a pass apart', () => {
    for (const group of groupsOf(localityOrder(side, commits, 2)).slice(0, 3))
      for (const [index, position] of group.entries())
        expect(nearest(position, group.toSpliced(index, 1))).toBeGreaterThanOrEqual(2)
  })

  it('stays closer to what is committed than an even spread', () => {
    const mean = (order: readonly number[]) => {
      const groups = groupsOf(order).slice(0, 3)
      const distances = groups.flatMap((group, step) =>
        step === 0 ? [] : group.map((position) => nearest(position, groups.slice(0, step).flat())),
      )
      return distances.reduce((sum, distance) => sum + distance, 0) / distances.length
    }
    expect(mean(localityOrder(side, commits, 2))).toBeLessThan(0.8 * mean(haltonOrder(side)))
  })

  it('grows like a crystal without repulsion', () => {
    const order = localityOrder(side, Array(64).fill(1), 0)
    for (let step = 1; step < 64; step++) expect(nearest(order[step]!, order.slice(0, step))).toBe(1)
  })

  it('spreads as far as it can where repulsion cannot be had', () => {
    const [first] = groupsOf(localityOrder(side, commits, 100))
    for (const [index, position] of first!.entries())
      expect(nearest(position, first!.toSpliced(index, 1))).toBeGreaterThan(3)
  })
})
