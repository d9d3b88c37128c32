import { afterEach, expect, it } from 'vitest'

import { startDemo } from '../e2e/browser.js'

let demo: Awaited<ReturnType<typeof startDemo>>
afterEach(() => {
  demo.child.kill('SIGKILL')
})

const generate = (body: object) =>
  fetch(`${demo.address}/api/models/shapes/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify(body),
  })

it('serves the page beside the models', async () => {
  demo = await startDemo()
  const page = await fetch(demo.address)
  expect(await page.text()).toContain('<title>HMAR')
  expect((await fetch(`${demo.address}/healthz`)).status).toBe(200)
})

it('ends what it has on SIGTERM under load, is not ready meanwhile, and exits with 0 (25)', async () => {
  demo = await startDemo()
  // So much that it lasts until everything below has been asked.
  const taken = await Promise.all([1, 2, 3].map((seed) => generate({ labels: ['star'], count: 8, seed })))
  const answers = Promise.all(taken.map((response) => response.text()))
  demo.child.kill('SIGTERM')
  let ready = 200
  while (ready === 200) ready = (await fetch(`${demo.address}/readyz`)).status
  expect(ready).toBe(503)
  expect((await generate({ labels: ['star'] })).status).toBe(503)
  for (const answer of await answers) expect(answer).toMatch(/event: done\ndata: \{"images":8/)
  expect(await demo.exited).toBe(0)
})
