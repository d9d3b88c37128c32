// One coarse picture, continued in three ways, and saved to go on elsewhere.
import { writeFile } from 'node:fs/promises'
import { HmarSampler } from '@hmar/sampler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
await using coarse = await sampler.open({ labels: ['star'], seed: 13 })
while (coarse.next < 6) await coarse.step() // three of six scales

for (const seed of [1, 2, 3]) {
  await using branch = await coarse.fork({ seed })
  const { images } = await branch.finish()
  await images[0]!.toFile(`branch-${seed}.png`)
}
await writeFile('coarse.safetensors', await coarse.save())
