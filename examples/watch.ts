// A picture that grows: a preview after every scale.
import { HmarSampler } from '@hmar/sampler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
for await (const event of sampler.stream({ labels: ['star'], seed: 13 })) {
  switch (event.kind) {
    case 'pass':
      console.log(`${event.pass.kind} pass over scale ${event.pass.scale}`)
      break
    case 'preview':
      await event.images[0]!.toFile(`scale-${event.scale}.png`)
      break
    case 'image':
      await event.image.toFile('star.png')
  }
}
