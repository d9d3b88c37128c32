import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { root } from '../scripts/run.mjs'
import { digestOfRepository, emptyProject } from './empty-project.mjs'
import { runTool } from './run-tool.mjs'

const requireBanner =
  "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);"

describe('an empty project that installs the packages', () => {
  const tarballs = Object.entries(inject('tarballs'))
  const dependencies = Object.fromEntries(tarballs.map(([name, file]) => [name, `file:${file}`]))
  let project
  let digest
  beforeAll(() => {
    project = emptyProject(dependencies)
    digest = digestOfRepository()
  })
  afterAll(() => project?.remove())

  it('generates from an ES module', () => {
    expect(project.run('generate.mjs')).toBe(digest)
  })

  it('generates from CommonJS', () => {
    expect(project.run('commonjs.cjs')).toBe(digest)
  })

  it('generates in worker threads', () => {
    expect(project.run('workers.mjs')).toBe(digest)
  })

  it.each([
    ['NodeNext', ['typed.mts', 'typed.cts']],
    ['Bundler', ['typed.mts']],
  ])('generates from TypeScript that resolves modules like %s', (resolution, files) => {
    const outDir = join(project.folder, resolution)
    writeTypeScriptProject(resolution, files, outDir)
    runTool('tsc', ['--project', join(project.folder, 'tsconfig.json')])
    for (const file of files) expect(project.run(join(resolution, file.replace(/ts$/, 'js')))).toBe(digest)
  })

  it.each([
    ['esm', 'mjs'],
    ['cjs', 'cjs'],
  ])(
    'generates from a bundle by esbuild (%s), the addon and the model external',
    async (format, extension) => {
      const file = `bundle.${extension}`
      await build({
        absWorkingDir: project.folder,
        entryPoints: [format === 'esm' ? 'generate.mjs' : 'commonjs.cjs'],
        outfile: join(project.folder, file),
        bundle: true,
        platform: 'node',
        target: 'node20',
        format,
        external: ['@hmar/native-*', '@hmar/shapes', 'sharp'],
        // esbuild's way of having CommonJS dependencies in an ES module: yaml's build for Node is one.
        banner: format === 'esm' ? { js: requireBanner } : {},
      })
      expect(project.run(file)).toBe(digest)
    },
  )

  it('has the command', () => {
    const command = join('node_modules', '@hmar', 'cli', 'dist', 'bin.js')
    project.run(command, 'generate', '--label', 'star', '--out', join(project.folder, 'pictures'))
    expect(readdirSync(join(project.folder, 'pictures'))).toEqual([expect.stringMatching(/\.png$/)])
  })

  it('is told what is missing where optional dependencies were left out', () => {
    const { '@hmar/core': core, '@hmar/native': native } = dependencies
    const other = emptyProject({ '@hmar/core': core, '@hmar/native': native }, ['--omit=optional'])
    const message = other.run('without-addon.mjs')
    other.remove()
    expect(message).toContain('ADDON_MISSING: The native addon of HMAR is not installed.')
    expect(message).toContain('npm install --include=optional')
  })

  function writeTypeScriptProject(moduleResolution, files, outDir) {
    const module = moduleResolution === 'Bundler' ? 'ESNext' : moduleResolution
    const compilerOptions = {
      ...{ module, moduleResolution, outDir, target: 'ES2022', lib: ['ES2022'], strict: true },
      // The declarations of the packages are checked, too.
      ...{ skipLibCheck: false, types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
    }
    writeFileSync(join(project.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  }
})
