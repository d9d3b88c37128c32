import { defineConfig } from 'vitest/config'

// What is published, checked as its users get it: packed, installed into an empty project, run.
export default defineConfig({
  test: {
    include: ['checks/**/*.test.mjs'],
    root: new URL('..', import.meta.url).pathname,
    globalSetup: 'checks/pack.mjs',
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 300_000,
  },
})
