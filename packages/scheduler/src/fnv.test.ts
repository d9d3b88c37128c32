import { expect, it } from 'vitest'
import { fnv1a64 } from './fnv.js'

it.each([
  ['', 'cbf29ce484222325'],
  ['pos_start', '2c451e9f64ea4dda'],
  ['foobar', '85944171f73967e8'],
])('fnv1a64(%j)', (text, hash) => {
  expect(fnv1a64(text)).toBe(hash)
})
