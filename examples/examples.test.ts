import { readdirSync, readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

import { runProgram } from './run-program.js'

const here = fileURLToPath(new URL('.', import.meta.url))

/** What each example leaves in its folder, and something that it prints. */
const examples: Record<string, { files?: string[]; prints?: RegExp }> = {
  'branch.ts': { files: ['branch-1.png', 'branch-2.png', 'branch-3.png', 'coarse.safetensors'] },
  'convert.ts': { files: ['shapes-bf16.safetensors'], prints: /combined, \d+\.\d million parameters/ },
  'edit.ts': { files: ['between.png', 'star-0.png', 'star-1.png', 'star-to-heart.png'] },
  'errors.ts': { prints: /unicorn/ },
  'generate.ts': { files: ['heart.png', 'star.png'], prints: /^\d+ passes, then/ },
  'own-positions.ts': { files: ['crescent.png'] },
  'schedule.ts': { files: ['star.png'], prints: /about \d+ ms/ },
  'score.ts': { prints: /│ 0 .*'star'/ },
  'watch.ts': {
    files: [1, 2, 3, 4, 5].map((scale) => `scale-${scale}.png`).concat('star.png'),
    prints: /masked pass over scale 2/,
  },
  'worker-threads.ts': { prints: /^\d+ bytes of PNG/ },
}

describe('examples', () => {
  it('are all run here', () => {
    const programs = readdirSync(here).filter((name) => /^(?!run-program)[a-z-]+\.ts$/.test(name))
    expect(programs.sort()).toEqual(Object.keys(examples).sort())
  })

  it.each(Object.entries(examples))('%s', async (name, { files = [], prints = /^/ }) => {
    const ran = await runProgram(join(here, name))
    expect(ran.files).toEqual(files)
    expect(ran.printed).toMatch(prints)
  })
})

describe('the first lines of a README', () => {
  const packages = readdirSync(join(here, '../packages')).map((name) => `packages/${name}/README.md`)
  const snippets = ['README.md', ...packages].flatMap((readme) => {
    const code = readFileSync(join(here, '..', readme), 'utf8').match(/^```ts\n(.*?)^```/ms)?.[1]
    return code === undefined ? [] : [{ readme, code }]
  })

  it.each(snippets)('$readme', async ({ readme, code }) => {
    // Beside the examples, where all packages can be imported.
    const path = join(here, `${readme.replaceAll('/', '-')}.ts`)
    await writeFile(path, code)
    await runProgram(path).finally(() => rm(path))
  })
})
