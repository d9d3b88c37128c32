import { expect, it } from 'vitest'
import { chromiumMissing } from './end-to-end.mjs'

it('names the line that installs Chromium where it is missing', () => {
  expect(chromiumMissing(() => false)).toContain('    sudo apt-get install -y chromium\n')
  expect(chromiumMissing((path) => path === '/usr/bin/chromium')).toBeUndefined()
})
