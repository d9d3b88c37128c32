/**
 * The transformer of HMAR: teacher-forced logits and scores.
 *
 * @packageDocumentation
 */
export { classNames, type FoundLabel, labelName, parseLabels, searchLabels } from './labels.js'
export {
  type CallOptions,
  HmarModel,
  type Label,
  type LogitsRequest,
  type ModelArithmetic,
  type ModelLoadOptions,
  type ModelMemory,
  type ScoreRequest,
} from './model.js'
export type { ModelPath } from './model-files.js'
export type { Score } from './score.js'
