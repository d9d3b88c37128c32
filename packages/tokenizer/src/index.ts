/**
 * Pictures to token maps and back.
 *
 * @packageDocumentation
 */
export { type ContactSheetOptions, contactSheet } from './contact-sheet.js'
export { type EncodeOptions, HmarImage, type ImageFormat } from './image.js'
export { type FittedPicture, type ReadPictureOptions, readPicture } from './picture-file.js'
export type { Picture } from './pixels.js'
export { readRecipe } from './png-recipe.js'
export { terminalPreview } from './terminal-preview.js'
export {
  type CallOptions,
  splitImages,
  Tokenizer,
  type TokenizerLoadOptions,
  type TokenizerMemory,
} from './tokenizer.js'
