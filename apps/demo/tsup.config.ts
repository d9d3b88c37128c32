import { defineConfig } from 'tsup'

export default defineConfig({
  entry: ['src/main.ts', 'src/load-test.ts', 'src/screenshots.ts'],
  format: 'esm',
  target: 'node20',
  clean: true,
  external: ['playwright-core', 'sharp'],
})
