// Damages schedules as JSON and YAML: each text is refused as SCHEDULE_INVALID, or is a schedule whose plan commits every token.
// npm run fuzz-schedules -- [runs] [first seed]
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { prepare } from './prepare.mjs'
import { root } from './run.mjs'

const [runs, firstSeed] = [Number(process.argv[2] ?? 100_000), Number(process.argv[3] ?? 1)]
const longest = 2_000
const built = join(root, 'packages', 'scheduler', 'dist', 'index.js')
if (!existsSync(built) && !(await prepare(['@hmar/scheduler']))) process.exit(1)
const { Schedule } = await import(built)

const texts = [
  ...Object.values([
    Schedule.preset('d16'),
    Schedule.forPyramid([1, 2, 3])
      .refine(2, [1, 3])
      .refine(3, { curve: 'power', steps: 3, exponent: 2 })
      .revise(3, { share: 0.25 })
      .positions({ kind: 'gumbel', temperature: 2 })
      .guidance({ nextScale: [0, 0.5, 1], scale: 1.7, masked: { ratio: 0.5 } })
      .sampling({ topK: [1, 2, 3], temperature: { from: 1.2, to: 0.8 }, smooth: true }),
    Schedule.forPyramid([1, 2])
      .refine(2, [1, 1, 2])
      .revise(2, [1, 2])
      .positions({ kind: 'order', order: [3, 2, 1, 0] }, 2)
      .guidance({ nextScale: 'power-cosine', scale: 2.5, power: 1.75, scales: [1, 2] }),
    Schedule.forPyramid([1, 3]).refine(2, [4, 5]).positions({ kind: 'locality', repulsion: 2 }),
  ]).map((schedule) => JSON.stringify(schedule)),
  'depth: 16\ncfg: 1.5\ntop_k: 650\ntop_p: 0.99\nmask: true\nmore_smooth: false\n',
  'depth: 30\nmask_schedule: [[1], [1, 3], [1, 1, 2, 5], [16], [25], [36], [64], [100], [169], [256]]\n',
]

/** Numbers below 2³² from a seed (splitmix32). */
function random(seed) {
  let state = seed >>> 0
  return (limit) => {
    state = (state + 0x9e3779b9) | 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) % limit
  }
}

const words =
  '0|1|-1|2|1.5|1e9|1e308|-0|9007199254740993|null|true|[]|{}|[1]|"a"|.nan|.inf|&a|*a|<<: *a|!!js|- |? |"__proto__": |version|pyramid|refinements|revisions|positions|custom|halton|random|curve|steps|share|cosine|,|:|[|]|{|}|\n'.split(
    '|',
  )
const values = [0, 1, -1, 2, 1.5, 512, 1e9, 1e308, 2 ** 53, '', 'halton', null, true, [], {}, [1], [1, 3]]

function damageText(text, below) {
  const at = below(text.length + 1)
  const end = Math.min(text.length, at + below(12))
  switch (below(4)) {
    case 0:
      return text.slice(0, at) + text.slice(end)
    case 1:
      return text.slice(0, at) + words[below(words.length)] + text.slice(end)
    case 2:
      return text.slice(0, at) + text.slice(below(text.length), end) + text.slice(at)
    default:
      return text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1)
  }
}

/** Changes something deep within a value. */
function damageValue(value, below) {
  if (typeof value !== 'object' || value === null || below(6) === 0) return values[below(values.length)]
  const copy = structuredClone(value)
  const keys = Object.keys(copy)
  const key = keys[below(keys.length)] ?? 'x'
  if (below(8) === 0) delete copy[key]
  else if (Array.isArray(copy) && below(6) === 0) copy.push(copy[key] ?? 1)
  else if (typeof copy[key] === 'number' && below(2) === 0) copy[key] += below(3) - 1
  else copy[key] = damageValue(copy[key], below)
  return copy
}

function input(seed) {
  const below = random(seed)
  let text = texts[below(texts.length)]
  // YAML takes ten times as long as JSON's values: fewer of it find as much.
  if (text.startsWith('{') && below(16) > 0) {
    let value = JSON.parse(text)
    for (let times = below(3); times >= 0; times--) value = damageValue(value, below)
    return value
  }
  for (let times = below(4); times >= 0; times--) text = damageText(text, below)
  return text
}

/** What is wrong with how an input is taken; undefined if nothing is. */
function fault(input) {
  let schedule
  try {
    schedule = typeof input === 'string' ? Schedule.parse(input) : Schedule.fromJSON(input)
  } catch (error) {
    return error.code === 'SCHEDULE_INVALID' ? undefined : error.stack
  }
  const open = new Map(schedule.pyramid.map((side, index) => [index + 1, side * side]))
  const plan = schedule.compile()
  for (const { scale, commits, revises = 0 } of plan.passes) {
    open.set(scale, open.get(scale) + revises - commits)
    if (open.get(scale) < 0) return `scale ${scale} commits more than is open`
  }
  if ([...open.values()].some((left) => left !== 0)) return 'tokens are left open'
  const again = Schedule.fromJSON(JSON.parse(JSON.stringify(schedule))).compile()
  return again.hash === plan.hash ? undefined : 'it comes back from JSON as another'
}

for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
  const given = input(seed)
  const started = process.cpuUsage()
  let found
  try {
    found = fault(given)
  } catch (error) {
    found = error.stack
  }
  // Of this process: on a busy machine a clock on the wall would count what others do.
  const { user, system } = process.cpuUsage(started)
  const milliseconds = (user + system) / 1000
  if (found === undefined && milliseconds > longest) found = `it takes ${milliseconds.toFixed(0)} ms`
  if (found !== undefined) {
    process.exitCode = 1
    const file = `schedule-${seed}.json`
    writeFileSync(file, typeof given === 'string' ? given : JSON.stringify(given))
    process.stdout.write(`seed ${seed} (${file}): ${found}\n`)
  }
}
process.stdout.write(`${runs} schedules, from seed ${firstSeed}\n`)
