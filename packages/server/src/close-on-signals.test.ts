import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

it('ends a process whose device died with 1, its clients told (16)', async () => {
  const script = fileURLToPath(new URL('testing/dying-server.mjs', import.meta.url))
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const response = await fetch(`${line.toString().trim()}/api/models/shapes/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: '{"labels":["star"]}',
  })
  expect([response.status, response.headers.has('retry-after')]).toEqual([503, true])
  expect(await exited).toEqual([1, null])
})
