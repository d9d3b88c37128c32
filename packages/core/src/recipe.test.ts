import { expect, it } from 'vitest'

import { parseRecipe, type Recipe } from './recipe.js'

const recipe: Recipe = {
  kind: 'hmar-recipe',
  version: 1,
  packages: { '@hmar/sampler': '0.1.0' },
  model: { name: 'shapes', weights: 'a'.repeat(64) },
  device: { id: 'cpu', dtype: 'f32', batchInvariant: false },
  label: 3,
  labelName: 'star',
  seed: '18446744073709551615',
  image: 0,
  schedule: { version: 1 },
  skipNegligibleGuidance: true,
  keep: { tokens: [1, 2, 3], scales: 1 },
  pixels: 'b'.repeat(64),
}

it('reads what was written', () => {
  expect(parseRecipe(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe)
})

it.each([
  ['nothing', null, /expected object/],
  ['another document', { kind: 'recipe' }, /kind/],
  ['another version', { ...recipe, version: 2 }, /version/],
  ['a seed that is no number', { ...recipe, seed: '-1' }, /seed: must be a whole number/],
  ['an image beyond 2³²', { ...recipe, image: 2 ** 32 }, /image/],
  ['weights that are no digest', { ...recipe, model: { name: 'shapes', weights: '1' } }, /model\.weights/],
  ['a mask outside 0 to 1', { ...recipe, keep: { ...recipe.keep, mask: [2] } }, /keep\.mask\.0/],
  ['what it does not know', { ...recipe, sharpness: 1 }, /sharpness/],
])('refuses %s by name', (_, value, why) => {
  expect(() => parseRecipe(value)).toThrow(expect.objectContaining({ code: 'RECIPE_INVALID' }))
  expect(() => parseRecipe(value)).toThrow(why)
})
