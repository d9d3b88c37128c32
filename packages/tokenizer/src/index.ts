/**
 * Pictures to token maps and back.
 *
 * @packageDocumentation
 */
export { type ContactSheetOptions, contactSheet } from './contact-sheet.js'
export { HmarImage, type ImageFormat } from './image.js'
export type { Picture } from './pixels.js'
export { terminalPreview } from './terminal-preview.js'
export {
  type CallOptions,
  splitImages,
  Tokenizer,
  type TokenizerLoadOptions,
  type TokenizerMemory,
} from './tokenizer.js'
