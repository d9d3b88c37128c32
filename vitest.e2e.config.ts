import { defineConfig } from 'vitest/config'

// The pages of apps in a browser, as they are built.
export default defineConfig({
  test: {
    include: ['apps/*/e2e/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
})
