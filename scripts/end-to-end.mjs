import { existsSync } from 'node:fs'
import { testWithVitest } from './vitest.mjs'

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** What to tell somebody who has no browser for the end-to-end tests; undefined if there is one. */
export function chromiumMissing(exists = existsSync) {
  if (places.some((path) => exists(path))) return undefined
  return `The end-to-end tests need Chromium. To install it:\n\n    sudo apt-get install -y chromium\n\n`
}

/** Runs the end-to-end tests. */
export const testEndToEnd = () => testWithVitest(['--config', 'vitest.e2e.config.ts'])
