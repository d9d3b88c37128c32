import { HmarRangeError, type LabelSpace, resolveLabel } from '@hmar/core'

import imagenetLabels from './imagenet-labels.json' with { type: 'json' }

/** The names of every class, its first name first. Empty where the model has no names. */
export function classNames(model: LabelSpace): readonly (readonly string[])[] {
  if (model.labels) return model.labels.map((name) => [name])
  return model.classes === imagenetLabels.length ? imagenetLabels : []
}

/** What a label is called: its first name, else its number; `null` is the unconditional class. */
export function labelName(model: LabelSpace, label: number | null): string {
  if (label === null) return 'unconditional'
  return classNames(model)[label]?.[0] ?? `class ${label}`
}

/**
 * Reads labels as people type them: numbers, names in any case, `none` for the unconditional class; several by commas.
 *
 * @throws {HmarRangeError} if a number is out of range, a name is unknown (the nearest is named) or several classes have it
 */
export function parseLabels(inputs: readonly string[], model: LabelSpace): (number | null)[] {
  return inputs.flatMap((input) => input.split(',')).map((part) => parseLabel(part.trim(), model))
}

function parseLabel(text: string, model: LabelSpace): number | null {
  // An empty string would be 0.
  const number = text === '' ? Number.NaN : Number(text)
  if (!Number.isNaN(number)) return resolveLabel(number, model)
  const wanted = normalise(text)
  if (wanted === 'none') return null
  const names = classNames(model)
  const [label, ...others] = names.flatMap((all, index) =>
    all.some((name) => normalise(name) === wanted) ? [index] : [],
  )
  // An unknown name is refused, with the nearest one.
  if (label === undefined) return resolveLabel(wanted, { classes: model.classes, labels: names.flat() })
  if (others.length === 0) return label
  throw new HmarRangeError(`Several classes are called '${text}'.`, {
    expected: [label, ...others].map((index) => `${index} (${names[index]?.join(', ')})`).join(' or '),
    remedy: 'Give the number, or a name that only one of them has.',
  })
}

/** Hyphens, underscores and capitals make no difference. */
const normalise = (name: string) => name.toLowerCase().replaceAll(/[\s_-]+/g, ' ')

/** A class that a search found. */
export interface FoundLabel {
  readonly label: number
  /** All its names, its first name first; empty where the model has none. */
  readonly names: readonly string[]
}

/**
 * The classes that a person may mean: those with a name that begins with the words, then those with one in which a word does,
 * then those that hold them anywhere; a number is the class itself.
 *
 * @param text - nothing finds every class, in order
 * @param most - how many to give at most. Defaults to all
 */
export function searchLabels(
  text: string,
  model: LabelSpace,
  most: number = Number.POSITIVE_INFINITY,
): FoundLabel[] {
  const names = classNames(model)
  const wanted = normalise(text.trim())
  const found = Array.from({ length: model.classes }, (_, label) => ({
    label,
    names: names[label] ?? [],
    rank: Math.min(
      ...[String(label), ...(names[label] ?? [])].map((name) => rankOf(wanted, normalise(name))),
    ),
  }))
  return found
    .filter(({ rank }) => rank < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.rank - b.rank || a.label - b.label)
    .slice(0, most)
    .map(({ label, names }) => ({ label, names }))
}

function rankOf(wanted: string, name: string): number {
  if (name.startsWith(wanted)) return 0
  if (name.includes(` ${wanted}`)) return 1
  return name.includes(wanted) ? 2 : Number.POSITIVE_INFINITY
}
