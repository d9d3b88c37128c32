import type { PositionOrder, Pyramid } from '@hmar/core'
import { z } from 'zod'
import { invalid } from '../invalid.js'
import { haltonOrder } from './halton.js'
import { localityOrder } from './locality.js'
import type { ScorePositions } from './pass-state.js'

// Each of p⁴ distances is looked at: beyond it a plan would take seconds to compile.
const largestLocalSide = 64

const plain = [
  /** The least confident stay open (§4). */
  z.strictObject({ kind: z.literal('least-confident') }),
  z.strictObject({
    /** By ln(confidence) + temperature·(1 − r)·Gumbel after a share r of the scale's passes (MaskGIT). */
    kind: z.literal('gumbel'),
    /** 0 to 1000. Defaults to 4.5, MaskGIT's. */
    temperature: z.number().min(0).max(1000).optional(),
  }),
  /** Any order as likely as any other. */
  z.strictObject({ kind: z.literal('random') }),
  /** The Halton sequence of bases 2 and 3: a fixed order, evenly spread (arXiv 2503.17076). */
  z.strictObject({ kind: z.literal('halton') }),
  z.strictObject({
    /** A fixed order: apart from the tokens of the same pass, close to committed ones (after arXiv 2507.01957). */
    kind: z.literal('locality'),
    /** How far tokens of one pass keep apart where they can, in positions, 0 to 512. Defaults to 2: no neighbours. */
    repulsion: z.number().min(0).max(512).optional(),
  }),
  z.strictObject({
    /** A fixed order of the caller's own. */
    kind: z.literal('order'),
    /** Every position of the scale, row-major, the first to be committed first. */
    order: z.array(z.number()).readonly(),
  }),
] as const

const name = z.string().min(1).max(100)

/** Which tokens of a scale a pass commits, as JSON. */
export const PositionJson = z.discriminatedUnion('kind', [
  ...plain,
  z.strictObject({ kind: z.literal('custom'), name }),
])
/** Which tokens of a scale a pass commits, where it leaves others open: plain data. */
export type PositionData = Readonly<z.infer<typeof PositionJson>>

/** Which tokens of a scale a pass commits. */
export const PositionChoice = z.discriminatedUnion('kind', [
  ...plain,
  z.strictObject({
    /** By a function of the caller's own. Such schedules run in a session, `sampler.open()`. */
    kind: z.literal('custom'),
    /** What the schedule's JSON calls the function by. */
    name,
    score: z.custom<ScorePositions>((value) => typeof value === 'function', 'must be a function'),
  }),
])
/** Which tokens of a scale a pass commits, where it leaves others open. */
export type PositionChoice = Readonly<z.infer<typeof PositionChoice>>

/** One choice for all scales, or a list with one for each. */
export type PositionsByScale = PositionData | readonly PositionData[]

/** The choice at a scale, counted from 1. */
export function choiceAt(positions: PositionsByScale, scale: number): PositionData {
  return 'kind' in positions ? positions : (positions[scale - 1] as PositionData)
}

/**
 * Checks choices against a pyramid.
 *
 * @throws {HmarError} `SCHEDULE_INVALID`, naming the scale.
 */
export function checkPositions(positions: PositionsByScale, pyramid: Pyramid): void {
  if (!('kind' in positions) && positions.length !== pyramid.length)
    throw invalid(`positions has ${positions.length} values for ${pyramid.length} scales`, {
      expected: 'one value for all scales, or a list with one for each',
    })
  for (const [index, side] of pyramid.entries()) {
    const choice = choiceAt(positions, index + 1)
    if (choice.kind === 'locality' && side > largestLocalSide)
      throw invalid(`scale ${index + 1} is too large for an order by locality`, {
        found: `side ${side}`,
        expected: `at most ${largestLocalSide}`,
        remedy: 'Use halton there.',
      })
    if (choice.kind !== 'order') continue
    const isWhole = new Set(choice.order).size === side * side && choice.order.length === side * side
    if (!isWhole || !choice.order.every((at) => Number.isInteger(at) && at >= 0 && at < side * side))
      throw invalid(`the order of positions at scale ${index + 1} is not each of its positions once`, {
        expected: `the numbers 0 to ${side * side - 1} in some order`,
      })
  }
}

/** What a plan says of the choice: one entry a pass, from the first one on. Fixed orders are worked out. */
export function ordersOf(choice: PositionData, side: number, commits: readonly number[]): PositionOrder[] {
  const each = (order: PositionOrder) => commits.map(() => order)
  switch (choice.kind) {
    case 'gumbel': {
      const { temperature = 4.5 } = choice
      const steps = commits.length
      return commits.map((_, step) => ({
        kind: 'gumbel',
        temperature: temperature * ((steps - step - 1) / steps),
      }))
    }
    case 'halton':
      return each({ kind: 'order', order: haltonOrder(side) })
    case 'locality':
      return each({ kind: 'order', order: localityOrder(side, commits, choice.repulsion ?? 2) })
    default:
      return each(choice)
  }
}
