import { defineConfig } from 'tsup'

export default defineConfig({
  entry: {
    main: 'src/main.ts',
    child: 'src/child.ts',
    'opening-child': 'src/opening-child.ts',
    'compare-child': 'src/compare/child.ts',
  },
  format: 'esm',
  target: 'node20',
  clean: true,
})
