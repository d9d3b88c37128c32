import { describeValue } from './check.js'
import { HmarRangeError } from './error.js'

/** What a label is checked against. */
export interface LabelSpace {
  /** How many labels there are; the index `classes` itself is the unconditional ("null") class. */
  readonly classes: number
  /** The labels' names, where the model has them. */
  readonly labels?: readonly string[] | undefined
}

/**
 * The class index of a label.
 *
 * @param label - An index below `classes`, a name in `labels` in any case, or `null` for the unconditional class.
 * @returns 0 to `classes`.
 * @throws {@link HmarRangeError}, with the name that is nearest to an unknown one.
 */
export function resolveLabel(label: number | string | null, { classes, labels = [] }: LabelSpace): number {
  if (label === null) return classes
  if (typeof label === 'number' && Number.isInteger(label) && label >= 0 && label < classes) return label
  const name = typeof label === 'string' ? label.toLowerCase() : undefined
  const index = labels.findIndex((known) => known.toLowerCase() === name)
  if (index >= 0) return index
  const suggestion = name === undefined ? undefined : nearest(name, labels)
  throw new HmarRangeError('The model has no such label.', {
    found: describeValue(label),
    expected: `a whole number from 0 to ${classes - 1}${labels.length > 0 ? ', a label’s name' : ''} or null`,
    remedy: suggestion && `Did you mean "${suggestion}"?`,
  })
}

/** The name that fewest edits lead to, unless they are more than half of its letters. */
function nearest(name: string, labels: readonly string[]): string | undefined {
  let best: string | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const label of labels) {
    const edits = editDistance(name, label.toLowerCase())
    if (edits < fewest && edits <= label.length / 2) {
      best = label
      fewest = edits
    }
  }
  return best
}

/** Levenshtein's: letters inserted, deleted or exchanged. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const exchanged = previous[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(exchanged, previous[column]! + 1, current[column - 1]! + 1))
    }
    previous = current
  }
  return previous[b.length]!
}
