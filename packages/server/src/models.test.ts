import { Schedule } from '@hmar/scheduler'
import { afterAll, beforeAll, expect, it } from 'vitest'

import { answerOf, serve } from './testing/server.js'

let server: Awaited<ReturnType<typeof serve>>
beforeAll(async () => {
  server = await serve()
})
afterAll(() => server.close())

it('describes the models and what is allowed', async () => {
  const { models, limits } = await server.get('/api/models')
  expect(models).toEqual([await server.get('/api/models/shapes')])
  expect(models[0]).toMatchObject({ name: 'shapes', side: 64, arithmetic: { device: 'cpu', dtype: 'f32' } })
  expect(Schedule.fromJSON(models[0].schedule).compile().hash).toBe(
    Schedule.default(server.sampler.model.config).compile().hash,
  )
  expect(limits.images).toBe(16)
})

it('finds labels by name', async () => {
  const { labels } = await server.get('/api/models/shapes/labels?search=st')
  expect(labels).toEqual([{ label: 3, names: ['star'] }])
  expect((await server.get('/api/models/shapes/labels?limit=2')).labels).toHaveLength(2)
  expect((await server.get('/api/models/shapes/labels?limit=0')).error.code).toBe('REQUEST_INVALID')
})

it('compiles, explains and costs a schedule as the library does', async () => {
  const { config } = server.sampler.model
  const schedule = Schedule.default(config).refine(6, { curve: 'cosine', steps: 4 })
  const answer = await answerOf(await server.post('schedule', { schedule, images: 2 }))
  expect(answer.hash).toBe(schedule.compile(config).hash)
  expect(answer.plan.passes).toHaveLength(12)
  expect(answer.explanation).toBe(schedule.explain(config))
  expect(answer.differences).toEqual(schedule.diff(Schedule.default(config)).differences)
  const tokenizer = server.sampler.tokenizer.config
  expect(answer.cost.flops).toBe(schedule.cost(config, { images: 2, tokenizer }).flops)
  const text = await answerOf(await server.post('schedule', { schedule: 'cfg: 3\ntop_k: 5' }))
  expect(text.plan.passes.at(-1)).toMatchObject({ guidance: 3, topK: 5 })
})

it('says by name what is not there', async () => {
  expect((await server.get('/api/models/cats')).error).toMatchObject({
    code: 'NOT_FOUND',
    expected: 'shapes',
  })
  expect((await server.get('/api/nothing')).error.code).toBe('NOT_FOUND')
})
