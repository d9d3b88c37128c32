// In-painting, variation and interpolation, beginning from rendered pictures.
import { HmarSampler, keepOutside } from '@hmar/sampler'
import { renderShape, sampleShape } from '@hmar/shapes'

await using sampler = await HmarSampler.load({ model: 'shapes' })
const star = renderShape(sampleShape(7, 'star'))
const ring = renderShape(sampleShape(8, 'ring'))

const mask = keepOutside({ left: 4, top: 4, width: 56, height: 56 }, sampler.side)
const heart = await sampler.edit({
  source: star,
  mask,
  labels: ['heart'],
  seed: 2,
  composite: { feather: 2 },
})
await heart.images[0]!.toFile('star-to-heart.png')

const stars = await sampler.vary({ source: star, scales: 3, labels: ['star', 'star'], seed: 4 })
for (const [index, image] of stars.images.entries()) await image.toFile(`star-${index}.png`)

const between = await sampler.interpolate({ sources: [star, ring], weight: 0.5, scales: 3, seed: 5 })
await between.images[0]!.toFile('between.png')
