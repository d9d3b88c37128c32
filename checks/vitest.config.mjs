import { defineConfig } from 'vitest/config'
import { root } from '../scripts/run.mjs'

// What is published, checked as its users get it: packed, installed into an empty project, run.
export default defineConfig({
  test: {
    include: ['checks/**/*.test.mjs'],
    root,
    globalSetup: 'checks/pack.mjs',
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
