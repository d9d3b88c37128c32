/** The ten classes, in the order of their labels: `shapeLabels[3]` is `'star'`. */
export const shapeLabels = [
  'disk',
  'square',
  'triangle',
  'star',
  'ring',
  'plus',
  'heart',
  'crescent',
  'diamond',
  'bars',
] as const

/** The name of one of the ten classes. */
export type ShapeLabel = (typeof shapeLabels)[number]
