import { defineConfig } from 'tsup'

export default defineConfig({
  entry: ['src/bin.ts'],
  format: 'esm',
  target: 'node20',
  banner: { js: '#!/usr/bin/env node' },
  clean: true,
})
