import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { labels } from '@hmar/shapes'
import { loadClassifier } from '@hmar/shapes/testing'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, it } from 'vitest'

let folder: string
let said: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hmar-start-'))
  const program = fileURLToPath(new URL('../dist/main.js', import.meta.url))
  said = execFileSync(process.execPath, [program, '--out', folder], { encoding: 'utf8' })
})
afterAll(() => rmSync(folder, { recursive: true }))

it('writes a picture of each class and a contact sheet, and says where', () => {
  const names = [...labels.map((label) => `${label}.png`), 'contact-sheet.png']
  expect(readdirSync(folder).sort()).toEqual(names.sort())
  expect(said).toContain('contact-sheet.png')
})

it('draws no preview where there is no terminal', () => {
  expect(said).not.toContain('\u001B')
})

it.each(labels)('shows a %s that the classifier recognises', async (label) => {
  const { data, info } = await sharp(join(folder, `${label}.png`))
    .raw()
    .toBuffer({ resolveWithObject: true })
  expect([info.width, info.height]).toEqual([64, 64])
  expect(labels[loadClassifier()({ data, width: 64, height: 64 })]).toBe(label)
})
