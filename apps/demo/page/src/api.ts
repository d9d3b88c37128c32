import type { ErrorBody, LabelsAnswer, ModelsAnswer, ServerEvent } from '@hmar/server'
import { EventSourceParserStream } from 'eventsource-parser/stream'

/** What the server refused, in its words. */
export class Refusal extends Error {
  constructor(readonly error: ErrorBody['error']) {
    super(error.remedy ? `${error.message} ${error.remedy}` : error.message)
  }
}

/** A class that a search found. */
export type FoundLabel = LabelsAnswer['labels'][number]

export const readModels = (): Promise<ModelsAnswer> => getJson('/api/models')

/** Labels by name. */
export async function searchLabels(model: string, text: string): Promise<readonly FoundLabel[]> {
  const query = new URLSearchParams({ search: text, limit: '40' })
  const { labels } = await getJson<LabelsAnswer>(`/api/models/${model}/labels?${query}`)
  return labels
}

/** The recipe inside a PNG. */
export const readRecipe = async (file: Blob) =>
  jsonOf(await fetch('/api/recipe', { method: 'POST', headers: { 'content-type': 'image/png' }, body: file }))

/** Asks for images, and gives what happens until they are there. */
export async function* draw(
  model: string,
  path: 'generate' | 'branch' | 'edit' | 'reproduce',
  body: unknown,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent, void, void> {
  const response = await fetch(`/api/models/${model}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify(body),
    signal,
  })
  if (!response.ok) await jsonOf(response)
  const messages = response
    .body!.pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
  const reader = messages.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    yield { kind: value.event, ...JSON.parse(value.data) } as ServerEvent
  }
}

const getJson = async <Answer>(path: string) => (await jsonOf(await fetch(path))) as Answer

async function jsonOf(response: Response): Promise<unknown> {
  const answer = await response.json()
  if (response.ok) return answer
  throw new Refusal((answer as ErrorBody).error)
}
