import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'

import { draw, openPage, startDemo } from '../e2e/browser.js'

// Pictures of the page for the documentation.
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: fileURLToPath(new URL('../../../docs/pictures', import.meta.url)) },
  },
})
await mkdir(values.out, { recursive: true })
const demo = await startDemo()
const desktop = { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5 }
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

try {
  await take('demo', desktop, async (page) => {
    await fillGallery(page)
  })
  await take('demo-branch-dark', { ...desktop, colorScheme: 'dark' }, async (page) => {
    await (await fillGallery(page)).click()
    await page.getByRole('radio', { name: '4×4' }).check({ force: true })
  })
  await take('demo-mask', desktop, async (page) => {
    await (await fillGallery(page)).click()
    await page.getByRole('button', { name: 'Paint over a part' }).click()
    await paint(page)
  })
  await take('demo-compare-dark', { ...desktop, colorScheme: 'dark' }, async (page) => {
    await page.getByRole('textbox', { name: 'Seed' }).fill('26')
    await chooseLabel(page, 'heart')
    await page.getByRole('combobox', { name: '6×6' }).selectOption('4')
    await page.getByRole('combobox', { name: '8×8' }).selectOption('6')
    await page.getByRole('slider', { name: 'Strength' }).fill('3')
    await page.getByRole('button', { name: 'Compare schedules' }).click()
    await page.locator('.comparison .card.done').nth(1).waitFor()
  })
  await take('demo-phone', phone, async (page) => {
    await fillGallery(page)
  })
  await take('demo-phone-dark', { ...phone, colorScheme: 'dark' }, async (page) => {
    await (await fillGallery(page)).click()
    await page.getByRole('radio', { name: '3×3' }).check({ force: true })
  })
} finally {
  demo.child.kill('SIGTERM')
}

async function take(name: string, options: BrowserContextOptions, prepare: (page: Page) => Promise<void>) {
  const { page, close } = await openPage(demo.address, options)
  await prepare(page)
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
  await page.waitForTimeout(500) // what moves has come to rest
  const file = join(values.out, `${name}.jpg`)
  await sharp(await page.screenshot())
    .jpeg({ quality: 84, chromaSubsampling: '4:4:4', mozjpeg: true })
    .toFile(file)
  console.log(file)
  await close()
}

/** Some pictures, the first of which is a star. */
async function fillGallery(page: Page) {
  await page.getByRole('textbox', { name: 'Seed' }).fill('13')
  for (const label of ['heart', 'ring', 'crescent', 'plus', 'diamond', 'bars', 'star']) {
    await draw(page, label)
    await page.getByRole('button', { name: `Remove ${label}` }).click()
  }
  await chooseLabel(page, 'star')
  return page.getByRole('button', { name: /^Open picture \d+, star/ })
}

async function chooseLabel(page: Page, label: string) {
  await page.getByRole('combobox', { name: 'Labels' }).fill(label)
  await page.getByRole('option', { name: new RegExp(`^${label}`) }).click()
}

/** A stroke like a person's over the upper half. */
async function paint(page: Page) {
  const { x, y, width } = (await page.getByRole('application').boundingBox())!
  await page.mouse.move(x + width * 0.28, y + width * 0.3)
  await page.mouse.down()
  for (const [right, down] of [
    [0.5, 0.22],
    [0.72, 0.3],
    [0.7, 0.42],
    [0.5, 0.36],
    [0.3, 0.44],
    [0.4, 0.33],
  ] as const)
    await page.mouse.move(x + width * right, y + width * down, { steps: 8 })
  await page.mouse.up()
}
