import { type Goldens, readGoldens } from '@hmar/shapes'
import { beforeEach, expect, it, vi } from 'vitest'

import { hmar } from '../testing/hmar.js'

// The real engine, held to goldens that a test may change.
let goldens: Goldens
vi.mock('@hmar/shapes', async (original) => {
  const shapes = await original<typeof import('@hmar/shapes')>()
  return { ...shapes, readGoldens: () => goldens ?? shapes.readGoldens() }
})

beforeEach(() => {
  goldens = undefined as unknown as Goldens
  goldens = readGoldens()
})

/** The goldens with one token of the second generation's last pass changed, in its third picture. */
function withWrongToken(): Goldens {
  const [first, second, ...others] = goldens.generations as [
    Goldens['generations'][0],
    Goldens['generations'][0],
  ]
  const traces = second.traces.map((trace) => trace.slice())
  const last = traces[2]!.length - 1
  traces[2]![last] = (traces[2]![last]! + 1) % 1024
  return { ...goldens, generations: [first, { ...second, traces }, ...others] }
}

it('finds that the CPU computes what it should', async () => {
  const { code, stdout } = await hmar(['verify', '--device', 'cpu'])
  expect(stdout).toContain('This device computes what it should, in float32 and bfloat16.')
  expect(stdout.match(/^ {2}ok /gm)).toHaveLength(16)
  expect(code).toBe(0)
})

it('names the token that differs, and exits with 1', async () => {
  goldens = withWrongToken()
  const { code, stdout, stderr } = await hmar(['verify', '--device', 'cpu', '--dtype', 'f32'])
  expect(code).toBe(1)
  expect(stdout).toMatch(/FAIL {2}generation: greedy +1,519 of 1,520 tokens equal/)
  expect(stdout).toMatch(
    /first: pass 9 of 9 \(scale 6, next-scale\), picture 2, position 63: \d+ instead of \d+/,
  )
  expect(stdout).toContain('the same when run again')
  expect(stdout).toContain('What to do: ')
  expect(stderr).toBe('')
})

it('reports in one document', async () => {
  const wrongBytes = goldens.pictures.map((picture) => ({
    ...picture,
    pixels: picture.pixels.map((byte) => byte ^ 64),
  }))
  goldens = { ...goldens, pictures: wrongBytes }
  const { code, stdout } = await hmar(['verify', '--device', 'cpu', '--dtype', 'bf16', '--json'])
  expect(code).toBe(1)
  const { ok, findings, device, versions, remedy } = JSON.parse(stdout)
  expect(ok).toBe(false)
  expect(device).toMatchObject({ id: 'cpu', kind: 'cpu' })
  expect(versions.node).toBe(process.versions.node)
  expect(remedy).toContain('Report it')
  const failed = findings.filter((finding: { ok: boolean }) => !finding.ok)
  expect(failed.map(({ what }: { what: string }) => what)).toEqual(['encoding', 'decoding'])
  expect(failed[0]).toMatchObject({ dtype: 'bf16', repeatable: true })
})

it('fails by name where the device is missing', async () => {
  const { code, stderr } = await hmar(['verify', '--device', 'cuda:99'])
  expect(code).toBe(1)
  expect(stderr).toContain("The device 'cuda:99' cannot be used.")
})
