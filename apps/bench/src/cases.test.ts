import { expect, it } from 'vitest'

import { caseName, casesOf, defaultModels } from './cases.js'

it('gives every case on the CPU a process of its own', () => {
  const groups = casesOf('shapes', 'cpu', false)
  expect(groups.map((group) => group.map(caseName))).toEqual([
    ['shapes ×1 HMAR f32'],
    ['shapes ×1 HMAR bf16'],
    ['shapes ×1 PyTorch f32'],
    ['shapes ×8 HMAR f32'],
    ['shapes ×8 HMAR bf16'],
    ['shapes ×8 PyTorch f32'],
  ])
})

it('measures three engines at all batches on a GPU, the smallest batch first', () => {
  const groups = casesOf('d24-512', 'cuda', false)
  expect(groups.map((group) => group.map(caseName))).toEqual([
    ['d24-512 ×1 HMAR bf16', 'd24-512 ×8 HMAR bf16', 'd24-512 ×64 HMAR bf16'],
    ['d24-512 ×1 PyTorch bf16', 'd24-512 ×8 PyTorch bf16', 'd24-512 ×64 PyTorch bf16'],
    ['d24-512 ×1 PyTorch graph bf16', 'd24-512 ×8 PyTorch graph bf16', 'd24-512 ×64 PyTorch graph bf16'],
  ])
  expect(defaultModels('cuda', false)).toEqual(['d16', 'd20', 'd24', 'd30', 'd24-512'])
})
