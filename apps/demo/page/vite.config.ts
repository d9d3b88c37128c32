import { fileURLToPath } from 'node:url'
import { defaultClientConditions, defineConfig } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  root: here('.'),
  resolve: { conditions: ['hmar-source', ...defaultClientConditions] },
  build: { outDir: here('../dist/page'), emptyOutDir: true, target: 'es2022' },
  logLevel: 'warn',
})
