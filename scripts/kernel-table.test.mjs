import { expect, it } from 'vitest'
import { kernelTable } from './kernel-table.mjs'

it('has a row for each kernel and architecture', () => {
  const output = [
    'running 1 test',
    'attention_64 sm_90a: 128 registers, 49152 bytes shared, 0 stack, 0 spilled',
    'attention_64 sm_80: 255 registers, 49152 bytes shared, 16 stack, 8 spilled',
    'test no_kernel_spills ... FAILED',
  ].join('\n')
  const { count, markdown } = kernelTable(output)
  expect(count).toBe(2)
  expect(markdown).toContain('| attention_64 | 80 | 255 | 49152 | 16 | 8 |\n')
})

it('counts nothing where no kernel was compiled', () => {
  expect(kernelTable('running 1 test\ntest no_kernel_spills ... ok').count).toBe(0)
})
