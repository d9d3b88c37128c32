import type { Recipe } from '@hmar/core'

/** What a picture's files are called. */
export const fileName = ({ labelName, label, seed, image }: Recipe) =>
  `${labelName ?? label ?? 'picture'}-${seed}-${image}`.replaceAll(/[^\w.-]+/g, '-')

/** A recipe as the address of a file. */
export const recipeAddress = (recipe: Recipe) =>
  `data:application/json,${encodeURIComponent(`${JSON.stringify(recipe, null, 2)}\n`)}`

/** The base64 of a data address. */
export const base64Of = (address: string) => address.slice(address.indexOf(',') + 1)
