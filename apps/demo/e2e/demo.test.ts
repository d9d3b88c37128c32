import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'

import { draw, openPage, startDemo } from './browser.js'

let demo: Awaited<ReturnType<typeof startDemo>>
beforeAll(async () => {
  demo = await startDemo()
})
afterAll(async () => {
  demo.child.kill('SIGTERM')
  expect(await demo.exited).toBe(0)
})

let opened: Awaited<ReturnType<typeof openPage>>
let page: Page
const open = async (options?: Parameters<typeof openPage>[1]) => {
  opened = await openPage(demo.address, options)
  page = opened.page
}
beforeEach(async ({ task }) => {
  if (task.suite?.name !== 'the page') await open()
})
afterEach(async () => {
  expect(opened.problems).toEqual([])
  await opened.close()
})

const cards = () => page.getByRole('article')
const done = () => page.locator('.card.done')
const dialog = () => page.getByRole('dialog')
const pixels = async (address: string) => {
  const file = Buffer.from(address.slice(address.indexOf(',') + 1), 'base64')
  return [...(await sharp(file).removeAlpha().raw().toBuffer())]
}
const pictureOf = (index: number) => done().nth(index).locator('.open img').getAttribute('src')

describe('a person', () => {
  it('draws a label found by name, and watches its scales appear', async () => {
    const counts: number[] = []
    await page.exposeFunction('noteScales', (count: number) => counts.push(count))
    await page.evaluate(() => {
      const note = (window as unknown as { noteScales(count: number): void }).noteScales
      new MutationObserver(() => note(document.querySelectorAll('.strip img').length)).observe(
        document.body,
        {
          childList: true,
          subtree: true,
        },
      )
    })
    await draw(page, 'star')
    expect(await page.locator('.strip img').count()).toBe(6)
    for (const scales of [1, 2, 3, 4, 5]) expect(counts).toContain(scales)
    expect(await pixels((await pictureOf(0))!)).toHaveLength(64 * 64 * 3)
  })

  it('branches a picture from a scale of its own choice', async () => {
    await (await draw(page, 'heart')).click()
    await dialog().getByRole('radio', { name: '3×3' }).check({ force: true })
    await dialog().getByRole('spinbutton', { name: 'Pictures' }).fill('2')
    await dialog().getByRole('button', { name: 'Branch from scale 3' }).click()
    await done().nth(2).waitFor()
    expect(await cards().nth(0).textContent()).toContain('from 1, scale 3')
    const [first, second, source] = await Promise.all([0, 1, 2].map(pictureOf))
    expect(new Set([first, second, source]).size).toBe(3)
    // The coarse scales are the same.
    const third = (card: number) => done().nth(card).locator('.strip img').nth(2).getAttribute('src')
    expect(await third(0)).toBe(await third(2))
  })

  it('paints a mask and has that part redrawn as something else; the rest stays', async () => {
    await (await draw(page, 'star')).click()
    await dialog().getByRole('button', { name: 'Paint over a part' }).click()
    const canvas = dialog().getByRole('application')
    const { x, y, width } = (await canvas.boundingBox())!
    await page.mouse.move(x + width * 0.3, y + width * 0.3)
    await page.mouse.down()
    for (const [right, down] of [
      [0.7, 0.3],
      [0.7, 0.45],
      [0.3, 0.45],
    ] as const)
      await page.mouse.move(x + width * right, y + width * down, { steps: 4 })
    await page.mouse.up()
    await dialog().getByRole('spinbutton', { name: 'Pictures' }).fill('1')
    await dialog().getByRole('button', { name: 'Redraw the painted part' }).click()
    await done().nth(1).waitFor()
    expect(await cards().nth(0).textContent()).toContain('redrawn from 1')
    const [edited, source] = [await pixels((await pictureOf(0))!), await pixels((await pictureOf(1))!)]
    const row = (picture: number[], at: number) => picture.slice(at * 192, (at + 1) * 192)
    expect(row(edited, 60)).toEqual(row(source, 60))
    expect(row(edited, 24)).not.toEqual(row(source, 24))
  })

  it('composes a schedule, sees its cost, and its effect beside the default', async () => {
    const cost = page.locator('.cost')
    expect(await cost.textContent()).toContain('by default')
    await page.getByRole('combobox', { name: '8×8' }).selectOption('6')
    await page.getByRole('combobox', { name: 'Which are kept' }).selectOption('halton')
    await page.getByRole('slider', { name: 'Strength' }).fill('4')
    expect(await cost.textContent()).toMatch(/^2\.\d+ times the work of the default, \d+ differences\.$/)
    expect(await page.locator('.plan').nth(1).locator('i.masked').count()).toBe(8)
    await page.getByRole('button', { name: 'Compare schedules' }).click()
    const comparison = page.getByRole('region', { name: /^Comparison of schedules/ })
    await comparison.locator('.card.done').nth(1).waitFor()
    expect(await comparison.getByRole('heading', { level: 3, name: /schedule$/ }).allTextContents()).toEqual([
      'The model’s schedule',
      'Your schedule',
    ])
    const [usual, ours] = await Promise.all([0, 1].map(pictureOf))
    expect(usual).not.toBe(ours)
    await page.getByRole('button', { name: 'Reset' }).click()
    expect(await cost.textContent()).toContain('by default')
  })

  it('takes a picture and its recipe away, and gets the same picture from either', async () => {
    await (await draw(page, 'ring')).click()
    const download = async (name: string) => {
      const [file] = await Promise.all([
        page.waitForEvent('download'),
        dialog().getByRole('link', { name }).click(),
      ])
      const path = join(tmpdir(), `hmar-e2e-${process.pid}-${file.suggestedFilename()}`)
      await file.saveAs(path)
      return path
    }
    const [png, json] = [await download('Picture'), await download('Recipe')]
    expect(png).toMatch(/ring-\d+-\d+\.png$/)
    const hmar = fileURLToPath(new URL('../../../packages/cli/dist/bin.js', import.meta.url))
    for (const file of [png, json]) {
      const { stdout } = await promisify(execFile)(process.execPath, [
        hmar,
        'reproduce',
        file,
        '--device',
        'cpu',
      ])
      expect(stdout).toMatch(/^The same: ring of shapes/)
    }
    await dialog().getByRole('button', { name: 'Close' }).click()
    for (const [index, file] of [png, json].entries()) {
      await page.getByLabel('A picture, or a recipe').setInputFiles(file)
      await page.getByText('The same, to the last pixel').nth(index).waitFor()
    }
    expect(JSON.parse(await readFile(json, 'utf8')).labelName).toBe('ring')
  })

  it('needs no pointer', async () => {
    const press = async (...keys: string[]) => {
      for (const key of keys) await page.keyboard.press(key)
    }
    await page.getByRole('combobox', { name: 'Labels' }).focus()
    await page.keyboard.type('plu')
    await page.getByRole('option', { name: /^plus/ }).waitFor()
    await press('Enter', 'Tab', 'Tab', 'Tab', 'Enter')
    await done().nth(0).waitFor()
    await page.getByRole('button', { name: /^Open picture 1/ }).focus()
    await press('Enter')
    await dialog().waitFor()
    await dialog().getByRole('button', { name: 'Paint over a part' }).focus()
    await press('Enter')
    await dialog().getByRole('application').focus()
    await press('Space', 'ArrowRight', 'ArrowRight', 'Space', 'Shift+ArrowDown', 'Space')
    await dialog().getByRole('button', { name: 'Redraw the painted part' }).focus()
    await press('Enter')
    await done().nth(4).waitFor()
    await page.getByRole('button', { name: /^Open picture 5/ }).focus()
    await press('Enter')
    await dialog().getByRole('radio', { name: '8×8' }).focus()
    await press('ArrowLeft', 'ArrowLeft')
    await dialog().getByRole('button', { name: 'Branch from scale 4' }).waitFor()
    await press('Escape')
    await dialog().waitFor({ state: 'detached' })
  })

  it('takes a picture off the page, whose request is given up', async () => {
    await page.getByRole('spinbutton', { name: 'Pictures of each' }).fill('4')
    await page.getByRole('combobox', { name: '8×8' }).selectOption('12')
    await page.getByRole('button', { name: /^Draw / }).click()
    for (let left = 4; left > 0; left--) {
      expect(await cards().count()).toBe(left)
      await page.getByRole('button', { name: `Remove picture ${left}` }).click()
    }
    await expect
      .poll(async () => (await fetch(`${demo.address}/metrics`)).text())
      .toContain('outcome="CLIENT_GONE"')
  })

  it('is told what the server refuses', async () => {
    await page.route('**/generate', (route) =>
      route.fulfill({
        status: 429,
        contentType: 'application/json',
        body: JSON.stringify({ error: { code: 'QUEUE_FULL', message: 'Too many requests wait.' } }),
      }),
    )
    await page.getByRole('button', { name: /^Draw / }).click()
    await page.getByText('Too many requests wait.').waitFor()
    opened.problems.length = 0 // the browser names the 429
  })
})

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core finds to be inaccessible. */
async function inaccessible(): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } }
    interface Violation {
      readonly id: string
      readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[]
    }
    const { violations } = await axe.run()
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
    )
  })
}

describe('the page', () => {
  const backgroundOf = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)

  it.each(['light', 'dark'] as const)('is %s where the system is, and accessible', async (colorScheme) => {
    await open({ colorScheme })
    const [red] = /\d+/.exec(await backgroundOf())!.map(Number) as [number]
    if (colorScheme === 'dark') expect(red).toBeLessThan(64)
    else expect(red).toBeGreaterThan(192)
    expect(await inaccessible()).toEqual([])
    await (await draw(page, 'star')).click()
    expect(await inaccessible()).toEqual([])
    await dialog().getByRole('button', { name: 'Paint over a part' }).click()
    expect(await inaccessible()).toEqual([])
  })

  it('fits a phone, everything within its width', async () => {
    await open({ viewport: { width: 360, height: 780 }, hasTouch: true, isMobile: true })
    // Not innerWidth: a phone's grows with what is too wide.
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - screen.width)
    expect(await overflow()).toBeLessThanOrEqual(0)
    const picture = await draw(page, 'crescent')
    expect(await overflow()).toBeLessThanOrEqual(0)
    await picture.tap()
    expect(await overflow()).toBeLessThanOrEqual(0)
    expect(
      await dialog().evaluate((element) => element.scrollWidth - element.clientWidth),
    ).toBeLessThanOrEqual(0)
    await dialog().getByRole('button', { name: 'Paint over a part' }).tap()
    await dialog().getByRole('application').tap()
    expect(await dialog().getByRole('button', { name: 'Redraw the painted part' }).isEnabled()).toBe(true)
  })
})
