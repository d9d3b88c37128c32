export type { Hsv } from './color.js'
export {
  type GoldenGeneration,
  type GoldenLogits,
  type GoldenPicture,
  type Goldens,
  readGoldens,
} from './goldens.js'
export { type ShapeLabel, shapeLabels as labels } from './labels.js'
export { type RandomStream, seededRandom } from './random.js'
export { renderShape, type Shape, type ShapePicture } from './render.js'
export { sampleShape } from './sample.js'
export { config, modelPath, tokenizerPath } from './weights.js'
