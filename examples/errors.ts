// What was refused, told apart by its code, and what to do about it.
import { HmarError } from '@hmar/core'
import { HmarSampler } from '@hmar/sampler'

await using sampler = await HmarSampler.load({ model: 'shapes' })
try {
  await sampler.generate({ labels: ['unicorn'] })
} catch (error) {
  if (!HmarError.isInstance(error)) throw error
  console.log(error.code, error.found, error.expected, error.remedy)
}
