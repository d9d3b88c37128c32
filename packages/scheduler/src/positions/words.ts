import type { PositionOrder } from '@hmar/core'
import type { PositionData } from './position-choice.js'

/** An order of a plan, in a word or two. */
export function describeOrder(order: PositionOrder = { kind: 'least-confident' }): string {
  return order.kind === 'order' ? `order ${order.order.slice(0, 4).join(' ')}…` : describeChoice(order)
}

/** A choice of a schedule, in a word or two. */
export function describeChoice(choice: PositionData): string {
  switch (choice.kind) {
    case 'least-confident':
      return 'confidence'
    case 'gumbel':
      return `gumbel ${Number((choice.temperature ?? 4.5).toPrecision(4))}`
    case 'locality':
      return `locality ${choice.repulsion ?? 2}`
    case 'order':
      return 'own order'
    case 'custom':
      return JSON.stringify(choice.name)
    default:
      return choice.kind
  }
}
