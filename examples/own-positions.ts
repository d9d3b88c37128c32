// Positions chosen by a function: passes commit the middle of the picture first. It runs in a session, between passes.
import { HmarSampler } from '@hmar/sampler'
import { Schedule } from '@hmar/scheduler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
const schedule = Schedule.default(sampler.model.config)
  .refine(6, [16, 16, 16, 16])
  .positions({
    kind: 'custom',
    name: 'middle-first',
    score: ({ tokens }) => {
      const side = Math.sqrt(tokens.length)
      const middle = (side - 1) / 2
      return Array.from(tokens, (_, at) => -Math.hypot((at % side) - middle, Math.floor(at / side) - middle))
    },
  })

await using session = await sampler.open({ labels: ['crescent'], seed: 3, schedule })
const { images } = await session.finish()
await images[0]!.toFile('crescent.png')
