import { expect, it } from 'vitest'

import { type Finding, formatVerification, judge, type Verification } from './report.js'

const gpu = { id: 'cuda:0', kind: 'cuda', name: 'NVIDIA H200', features: ['150 GB', 'CUDA 13.0'] } as const
const cpu = { id: 'cpu', kind: 'cpu', name: 'A processor', features: [] } as const

const right = (dtype: Finding['dtype'], what = 'decoding'): Finding => ({
  dtype,
  what,
  ok: true,
  found: 'equal',
  expected: 'all',
})
const wrong = (dtype: Finding['dtype'], repeatable = true): Finding => ({
  dtype,
  what: 'generation: default',
  ok: false,
  found: '3 of 9 tokens equal',
  expected: 'all',
  first: 'pass 1 of 9',
  repeatable,
})
const of = (device: Verification['device'], ...findings: Finding[]): Verification => ({
  device,
  versions: { hmar: '0.1.0', node: '20.20.2', system: 'linux 6.1 x64' },
  milliseconds: 2100,
  findings,
})

it('says what was verified, and on what', () => {
  const verification = of(gpu, right('f32'), right('bf16'))
  expect(judge(verification)).toEqual({
    ok: true,
    verdict: 'This device computes what it should, in float32 and bfloat16.',
  })
  const text = formatVerification(verification)
  expect(text).toContain('NVIDIA H200 (cuda:0, 150 GB, CUDA 13.0)')
  expect(text).toContain('hmar 0.1.0, Node 20.20.2, linux 6.1 x64')
  expect(text).toMatch(/^ {2}ok {4}decoding {2}equal \(all\)$/m)
  expect(text).not.toContain('What to do')
})

it('says what differs, and where first', () => {
  const text = formatVerification(of(gpu, right('f32'), wrong('f32')))
  expect(text).toMatch(
    /^ {2}FAIL {2}generation: default {2}3 of 9 tokens equal \(all\)\n {8}first: pass 1 of 9\n {8}the same when run again$/m,
  )
  expect(text).toContain('Not verified, in 2.10 s.')
  expect(text).toContain('float32: 1 of 2 checks failed')
})

it.each<[string, Verification, RegExp]>([
  ['float32 where only bfloat16 is wrong', of(gpu, right('f32'), wrong('bf16')), /--dtype f32/],
  ['the CPU where float32 is wrong too', of(gpu, wrong('f32'), wrong('bf16')), /driver.*--device cpu/],
  ['the CPU where float32 was not looked at', of(gpu, wrong('bf16')), /--device cpu/],
  ['a look at the memory where results change', of(gpu, wrong('f32', false)), /nvidia-smi -q -d ECC/],
  ["a look at a processor's memory, likewise", of(cpu, wrong('f32', false)), /test the machine's memory/],
  ['another addon on a processor', of(cpu, wrong('f32')), /npm install @hmar\/native/],
])('advises %s', (_, verification, advice) => {
  const { ok, remedy } = judge(verification)
  expect(ok).toBe(false)
  expect(remedy).toMatch(advice)
  expect(remedy).toContain(`hmar verify --device ${verification.device.id} --json`)
  expect(formatVerification(verification)).toContain(`What to do: ${remedy}`)
})
