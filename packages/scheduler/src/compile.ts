import type { Pass, PositionOrder } from '@hmar/core'
import { guidanceAt } from './guidance.js'
import { choiceAt, ordersOf } from './positions/position-choice.js'
import type { Counts } from './revision.js'
import { filtersAt } from './sampling.js'
import type { ScheduleData } from './schedule-data.js'

/**
 * The passes over a scale.
 *
 * @param scale - From 1.
 * @param commits - What each pass commits without revision.
 * @param counts - What each pass does; longer than `commits` where passes revise alone.
 */
export function passesOf(
  { pyramid, guidance, sampling, positions }: ScheduleData,
  scale: number,
  commits: readonly number[],
  counts: readonly Counts[],
): Pass[] {
  const side = pyramid[scale - 1] as number
  // A pass that leaves nothing open has nothing to choose.
  const orders = commits.length > 1 ? ordersOf(choiceAt(positions, scale), side, commits).slice(0, -1) : []
  return counts.map(({ commits, revises }, step): Pass => {
    const kind = step === 0 ? 'next-scale' : 'masked'
    return {
      kind,
      scale,
      side,
      commits,
      guidance: guidanceAt(guidance, kind, scale, pyramid.length),
      ...filtersAt(sampling, scale, pyramid.length),
      smooth: sampling.smooth && counts.length === 1,
      ...besides(orders[step], revises),
    }
  })
}

/** Only what is not as usual is said, so that plans keep their hashes. */
function besides(order: PositionOrder | undefined, revises: number): Pick<Pass, 'positions' | 'revises'> {
  return {
    ...(order !== undefined && order.kind !== 'least-confident' && { positions: order }),
    ...(revises > 0 && { revises }),
  }
}
