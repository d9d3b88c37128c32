import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { root } from './run.mjs'
import { platformPackages } from './workspace.mjs'

const folder = join(root, '.github', 'workflows')
const workflows = readdirSync(folder).map((name) => {
  const text = readFileSync(join(folder, name), 'utf8')
  return { file: name, text, ...parse(text) }
})

describe.each(workflows)('$file', ({ text, permissions, jobs }) => {
  it('pins every action by its commit, and says which version that is', () => {
    const uses = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action)
    expect(uses.length).toBeGreaterThan(0)
    for (const action of uses) expect(action).toMatch(/^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })

  it('may read unless a job asks for more, and ends in time', () => {
    expect(permissions).toEqual({ contents: 'read' })
    for (const job of Object.values(jobs)) expect(job['timeout-minutes']).toBeLessThanOrEqual(90)
  })
})

it('a release builds the addon of every platform', () => {
  const { jobs } = workflows.find(({ file }) => file === 'release.yml')
  const built = jobs.addon.strategy.matrix.include.map(({ triple }) => `@hmar/native-${triple}`)
  expect(built.sort()).toEqual(
    platformPackages()
      .map(({ name }) => name)
      .sort(),
  )
})

it('only the job that publishes proves who it is, and it can change nothing here', () => {
  const all = workflows.flatMap(({ jobs }) => Object.entries(jobs))
  const proving = all.filter(([, { permissions }]) => permissions?.['id-token'])
  expect(proving.map(([name, { permissions }]) => [name, permissions.contents])).toEqual([
    ['publish', 'read'],
  ])
})
