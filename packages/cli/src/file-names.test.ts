import { expect, it } from 'vitest'

import { pictureNames, slug } from './file-names.js'

it('makes names of files', () => {
  expect(slug('Granny Smith')).toBe('granny-smith')
  expect(slug("jack-o'-lantern")).toBe('jack-o-lantern')
  expect(slug('../etc')).toBe('etc')
})

it('numbers pictures of the same label only', () => {
  expect(pictureNames(['star', 'disk', 'star'])).toEqual(['star-1.png', 'disk.png', 'star-2.png'])
})

it('numbers them so that they sort', () => {
  const names = pictureNames(Array(12).fill('star'))
  expect(names.toSorted()).toEqual(names)
})
