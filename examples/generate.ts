// Two pictures of the embedded model, with progress and a time limit.
import { HmarSampler } from '@hmar/sampler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
const { images, timings } = await sampler.generate({
  labels: ['star', 'heart'],
  seed: 13,
  signal: AbortSignal.timeout(60_000),
  onProgress: ({ fraction }) => process.stderr.write(`\r${Math.round(fraction * 100)}%`),
})
await images[0]!.toFile('star.png')
await images[1]!.toFile('heart.png')
console.log(`${timings.passMs.length} passes, then ${timings.decodeMs.toFixed(1)} ms of decoding`)
