import { expect, it } from 'vitest'
import { countCargo, countVitest, sum, withOutcome } from './counts.mjs'

it('adds up every binary and the doctests of cargo test', () => {
  const output = [
    'running 3 tests',
    'test philox::known_answers ... ok',
    'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s',
    '   Doc-tests hmar_ops',
    'test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.55s',
  ].join('\n')
  expect(countCargo(output)).toEqual({ passed: 7, failed: 2 })
})

it('reads the report of vitest', () => {
  expect(countVitest('{"numTotalTests":6,"numPassedTests":5,"numFailedTests":1,"success":false}')).toEqual({
    passed: 5,
    failed: 1,
  })
})

it('counts a runner that broke down as a failure', () => {
  expect(withOutcome(false, countCargo('error: could not compile `hmar-ops`'))).toEqual({
    passed: 0,
    failed: 1,
  })
  expect(withOutcome(false, { passed: 3, failed: 2 })).toEqual({ passed: 3, failed: 2 })
  expect(withOutcome(true, { passed: 3, failed: 0 })).toEqual({ passed: 3, failed: 0 })
})

it('sums over runners', () => {
  expect(
    sum([
      { passed: 3, failed: 0 },
      { passed: 4, failed: 1 },
    ]),
  ).toEqual({ passed: 7, failed: 1 })
})
