import { inspectCheckpoint } from '@hmar/native'
import { Schedule } from '@hmar/scheduler'

/** How the peer is told to sample: HMAR's keys. */
export interface PeerSampling {
  /** Tokens that each pass commits, scale after scale. */
  readonly schedule: readonly (readonly number[])[]
  /** At the last scale; it rises linearly. */
  readonly guidance: number
  readonly topK: number
  readonly topP: number
}

/** The sampling that the library chooses for the model in a folder, so that both engines do the same. */
export async function peerSampling(folder: string): Promise<PeerSampling> {
  const { modelConfig } = await inspectCheckpoint(folder)
  if (modelConfig === undefined) throw new Error(`${folder} holds no model.`)
  const { pyramid, passes } = Schedule.default(modelConfig).compile()
  const last = passes.findLast(({ kind }) => kind === 'next-scale')!
  return {
    schedule: pyramid.map((_, index) =>
      passes.filter(({ scale }) => scale === index + 1).map(({ commits }) => commits),
    ),
    guidance: last.guidance,
    topK: last.topK,
    topP: last.topP,
  }
}
