import { defineConfig, type Options } from 'tsup'

/** The build of every library: ES modules, CommonJS and the types of both. */
export const library = (options: Options = {}) =>
  defineConfig({
    entry: ['src/index.ts'],
    format: ['esm', 'cjs'],
    target: 'node20',
    dts: true,
    sourcemap: true,
    clean: true,
    silent: true,
    ...options,
  })
