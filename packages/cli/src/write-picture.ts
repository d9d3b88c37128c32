import type { HmarImage, HmarSampler } from '@hmar/sampler'

/** Writes a picture as PNG, with the recipe to make it again inside. */
export async function writePicture(sampler: HmarSampler, image: HmarImage, file: string): Promise<void> {
  await image.toFile(file, { recipe: await sampler.recipe(image) })
}
