import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core'

/** Debian's Chromium, where there is one. */
const chromiumPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
)

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Opens the page in a browser of its own, whose folder goes with it. */
export async function openPage(address: string, options: BrowserContextOptions = {}) {
  if (!chromiumPath)
    throw new Error('There is no Chromium here. To install it:\n\n    sudo apt-get install -y chromium\n')
  const folder = await mkdtemp(join(tmpdir(), 'hmar-e2e-'))
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: chromiumPath,
    args: flags,
    headless: true,
    viewport: { width: 1280, height: 900 },
    ...options,
  })
  const page = context.pages()[0] ?? (await context.newPage())
  const problems: string[] = []
  page.on('pageerror', ({ message }) => problems.push(message))
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text())
  })
  await page.goto(address)
  await page.getByRole('button', { name: /^Draw / }).waitFor()
  return {
    page,
    /** What the browser complained about. */
    problems,
    async close() {
      await context.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The program behind `npm run demo`, on a free port. */
export async function startDemo(...words: string[]) {
  const program = fileURLToPath(new URL('../dist/main.js', import.meta.url))
  const child = spawn(process.execPath, [program, '--port', '0', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', resolve)
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const [address] = /http:\/\/\S+/.exec(line) ?? []
    if (address) return { address, child, exited }
  }
  throw new Error('The demo ended before it listened.')
}

/** Draws a label, and waits for its picture. */
export async function draw(page: Page, label: string) {
  const box = page.getByRole('combobox', { name: 'Labels' })
  await box.fill(label)
  await page
    .getByRole('option', { name: new RegExp(`^${label}`) })
    .first()
    .click()
  await page.getByRole('button', { name: /^Draw / }).click()
  const picture = page.getByRole('button', { name: new RegExp(`^Open picture \\d+, ${label}`) })
  await picture.and(page.locator(':enabled')).first().waitFor()
  return picture.first()
}
