import { defineConfig } from 'vitest/config'

// Packages of the workspace are tested from their sources: nothing has to be rebuilt but the native addon.
const conditions = ['hmar-source']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions: [...conditions, 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['{packages,apps}/*/src/**/*.test.ts', 'scripts/**/*.test.mjs', 'examples/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // What types promise is a test, too.
    typecheck: { enabled: true, include: ['packages/*/src/**/*.test-d.ts'], tsconfig: 'tsconfig.types.json' },
  },
})
