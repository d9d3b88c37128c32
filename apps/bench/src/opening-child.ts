import { HmarSampler } from '@hmar/sampler'

/** Opens a model and generates one picture; prints how long after the process's start each was done. */
async function openHere({ folder, device }: { folder: string; device: 'cpu' | 'cuda' }): Promise<void> {
  await using sampler = await HmarSampler.load({ model: folder, device, dtype: 'bf16' })
  const loaded = performance.now()
  await sampler.generate({ labels: [207] })
  console.log(JSON.stringify({ loaded, firstPicture: performance.now() }))
}

await openHere(JSON.parse(process.argv[2]!))
