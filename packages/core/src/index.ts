export {
  checkInteger,
  checkOptions,
  checkSeed,
  describeIssues,
} from './check.js'
export {
  ModelConfig,
  parseModelConfig,
  parseTokenizerConfig,
  SamplingConfig,
  TokenizerConfig,
} from './config.js'
export { errorCodes, HmarError, type HmarErrorCode, type HmarErrorDetails, HmarRangeError } from './error.js'
export { type LabelSpace, resolveLabel } from './label.js'
export type { Pass, PassList, PositionOrder } from './plan.js'
export { checkPyramid, PYRAMIDS, type Pyramid, pyramidFault, pyramidTokens, samePyramid } from './pyramid.js'
export { parseRecipe, Recipe } from './recipe.js'
export {
  findReleasedWeights,
  type License,
  type ReleasedWeights,
  releasedTokenizer,
  releasedWeights,
} from './released-weights.js'
export { checkTokenMaps, flattenTokens, type TokenMaps, unflattenTokens } from './token-maps.js'
