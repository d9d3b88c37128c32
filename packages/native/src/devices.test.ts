import { beforeEach, describe, expect, it, vi } from 'vitest'

import { inspectDevices, resolveDevice } from './devices.js'
import { type FakeBinding, fakeBinding } from './testing/fake-binding.js'

let fake: FakeBinding
vi.mock('./binding.js', () => ({ binding: () => fake }))

const cpu = { id: 'cpu', kind: 'cpu', name: 'Fake', available: true, threads: 2, features: ['avx2'] }
const gpu = (index: number, available: boolean) => ({
  id: `cuda:${index}`,
  kind: 'cuda',
  name: 'Fake GPU',
  available,
  reason: available ? null : 'The driver is too old: 470, 525 or later is needed.',
  features: [],
})

beforeEach(() => {
  fake = fakeBinding()
})

describe('inspectDevices', () => {
  it('says why a device is not available', () => {
    fake.devices = [cpu, gpu(0, false)]
    expect(inspectDevices()).toMatchObject([
      { id: 'cpu', available: true, threads: 2, features: ['avx2'] },
      { id: 'cuda:0', available: false, reason: expect.stringContaining('driver is too old') },
    ])
  })
})

describe('resolveDevice', () => {
  it('computes on the CPU by default where there is no GPU', () => {
    fake.devices = [cpu, gpu(0, false)]
    expect(resolveDevice('auto')).toBe('cpu')
    expect(resolveDevice('cpu')).toBe('cpu')
  })

  it('takes the first GPU that can be used', () => {
    fake.devices = [cpu, gpu(0, false), gpu(1, true)]
    expect(resolveDevice('auto')).toBe('cuda:1')
    expect(resolveDevice('cuda')).toBe('cuda:1')
    expect(resolveDevice('cuda:1')).toBe('cuda:1')
  })

  it('never falls back from an explicit GPU', () => {
    fake.devices = [cpu, gpu(0, false), gpu(1, true)]
    expect(() => resolveDevice('cuda:0')).toThrow(
      expect.objectContaining({
        code: 'DEVICE_UNAVAILABLE',
        found: expect.stringContaining('driver is too old'),
      }),
    )
    fake.devices = [cpu]
    expect(() => resolveDevice('cuda')).toThrow(expect.objectContaining({ code: 'DEVICE_UNAVAILABLE' }))
  })
})
