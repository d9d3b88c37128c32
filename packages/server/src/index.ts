/**
 * Serves HMAR models over HTTP, as a Fastify plugin.
 *
 * @packageDocumentation
 */
export { closeOnSignals } from './close-on-signals.js'
export type {
  DoneEvent,
  ErrorEvent,
  ImageEvent,
  PassEvent,
  PreviewEvent,
  QueuedEvent,
  ServerEvent,
  StartedEvent,
} from './events.js'
export type { HmarServerOptions, Limits } from './options.js'
export { hmarServer } from './plugin.js'
export type { BranchRequest, EditRequest, GenerateRequest } from './requests.js'
export type { LabelsAnswer, ModelDescription, ModelsAnswer } from './routes/models.js'
export { type ErrorBody, ServerError, type ServerErrorCode } from './server-error.js'
export type { HmarService, ServiceState } from './service.js'
