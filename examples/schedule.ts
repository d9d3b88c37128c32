// A schedule of one's own: what it does, what it costs, how it differs, and a picture made with it.
import { HmarSampler } from '@hmar/sampler'
import { profileDevice, Schedule } from '@hmar/scheduler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
const { config } = sampler.model

const usual = Schedule.default(config)
const schedule = Schedule.forPyramid(config.pyramid)
  .refine(5, { curve: 'cosine', steps: 4 })
  .positions({ kind: 'gumbel', temperature: 3 })
  .guidance({ nextScale: 'linear', scale: 1.7 })
  .sampling({ topP: 0.95, temperature: { from: 1.2, to: 1 } })

console.log(schedule.explain(config))
console.log(String(schedule.diff(usual)))

// One measured run tells how long other schedules take on this device.
const { timings } = await sampler.generate({ labels: ['star'], seed: 1, schedule: usual })
const device = profileDevice({ cost: usual.cost(config), timings })
console.log(`about ${schedule.cost(config, { device }).milliseconds?.toFixed(0)} ms`)

const { images } = await sampler.generate({ labels: ['star'], seed: 1, schedule })
await images[0]!.toFile('star.png')
