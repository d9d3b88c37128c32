import { defineConfig } from 'tsup'

export default defineConfig({
  entry: ['src/main.ts'],
  format: 'esm',
  target: 'node20',
  clean: true,
  // The classifier is not built by its package: only tests and this use it.
  noExternal: ['@hmar/shapes/testing'],
  esbuildOptions: (options) => {
    options.conditions = ['hmar-source']
  },
})
