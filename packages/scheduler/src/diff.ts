import type { Pass } from '@hmar/core'
import type { Plan } from './plan.js'
import { formatTable } from './table.js'

/** One thing that two schedules do differently. */
export interface Difference {
  /** The scale, from 1. */
  readonly scale: number
  /** What differs: a property of passes, e.g. `commits`; all are listed for a scale that only one pyramid has. */
  readonly property: keyof Pass
  /** The property's values in the one schedule, a pass after another; a single one where all are equal. */
  readonly from: string
  /** The same in the other. */
  readonly to: string
}

/** What two schedules do differently. */
export interface ScheduleDiff {
  /** In the order of scales; empty for equal plans. */
  readonly differences: readonly Difference[]
  /** A table with a line a difference. */
  toString(): string
}

const properties = [
  'side',
  'revises',
  'commits',
  'positions',
  'guidance',
  'temperature',
  'topK',
  'topP',
  'minP',
  'smooth',
] as const satisfies readonly (keyof Pass)[]

/** Compares two plans, scale by scale. */
export function diffPlans(a: Plan, b: Plan): ScheduleDiff {
  const scales = Math.max(a.pyramid.length, b.pyramid.length)
  const differences = Array.from({ length: scales }, (_, index) => index + 1).flatMap((scale) =>
    properties
      .map((property) => ({
        scale,
        property,
        from: valuesOf(a, scale, property),
        to: valuesOf(b, scale, property),
      }))
      .filter(({ from, to }) => from !== to),
  )
  return Object.freeze({
    differences,
    toString: () =>
      differences.length === 0
        ? 'no difference'
        : formatTable([
            ['scale', 'property', 'from', 'to'],
            ...differences.map(({ scale, property, from, to }) => [
              String(scale),
              property,
              shortened(from),
              shortened(to),
            ]),
          ]),
  })
}

// Orders of positions would make lines of thousands of letters.
const shortened = (text: string) => (text.length > 48 ? `${text.slice(0, 47)}…` : text)

const unsaid: Partial<Record<keyof Pass, unknown>> = { revises: 0, positions: { kind: 'least-confident' } }

function valuesOf(plan: Plan, scale: number, property: keyof Pass): string {
  const values = plan.passes.flatMap((pass, index) => {
    // A pass that leaves nothing open chooses no positions.
    const isSaid = pass.scale === scale && (property !== 'positions' || plan.openCount(index) > 0)
    return isSaid ? [describe(pass[property] ?? unsaid[property])] : []
  })
  // How many passes there are is a difference of its own: that of their commits.
  const [first] = values
  if (first === undefined) return '–'
  return property !== 'commits' && values.every((value) => value === first) ? first : values.join(', ')
}

function describe(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.values(value)
    .map((part) => (Array.isArray(part) ? part.join(' ') : String(part)))
    .join(' ')
}
