import { expect, it } from 'vitest'

import { summarizeScores } from './score.js'

it('takes means over pictures, scale by scale and in all', () => {
  const positions = [1, 9]
  const scores = [
    { loss: [1, 2], accuracy: [1, 0.5], positions, meanLoss: 1.9, meanAccuracy: 0.55 },
    { loss: [3, 4], accuracy: [0, 0.1], positions, meanLoss: 3.9, meanAccuracy: 0.09 },
  ]
  expect(summarizeScores(scores)).toEqual({
    pictures: 2,
    loss: [2, 3],
    accuracy: [0.5, 0.3],
    meanLoss: expect.closeTo(2.9),
    meanAccuracy: expect.closeTo(0.32),
  })
})
