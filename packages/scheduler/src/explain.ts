import type { Pass } from '@hmar/core'
import type { ScheduleCost } from './cost.js'
import type { Plan } from './plan.js'
import { choiceAt } from './positions/position-choice.js'
import { describeChoice } from './positions/words.js'
import type { ScheduleData } from './schedule-data.js'
import { formatTable } from './table.js'

/** A schedule in words: what its plan does, a line a scale. Columns in which nothing happens are left out. */
export function explain(data: ScheduleData, plan: Plan, cost?: ScheduleCost): string {
  const rows = data.pyramid.map((_, index) => rowOf(data, plan, index + 1, cost))
  const columns = Object.keys(rows[0] ?? {}).filter((name) => rows.some((row) => row[name] !== ''))
  const masked = plan.passes.filter(({ kind }) => kind === 'masked').length
  return [
    `${plan.passes.length} passes over ${data.pyramid.length} scales, ${masked} of them masked; plan ${plan.hash}`,
    formatTable([columns, ...rows.map((row) => columns.map((name) => row[name] || '–'))]),
    ...(cost
      ? [`${short(cost.flops / 1e9)} GFLOP and ${short(cost.weightBytes / 1e6)} MB of weights in all`]
      : []),
  ].join('\n')
}

/** What stands in each column for a scale; nothing where it is as usual. */
function rowOf(data: ScheduleData, plan: Plan, scale: number, cost?: ScheduleCost): Record<string, string> {
  const passes = plan.passes.filter((pass) => pass.scale === scale)
  const [first, masked] = passes as [Pass, Pass | undefined]
  const refinement = data.refinements[scale - 1]
  const curve = refinement !== undefined && 'curve' in refinement ? ` (${refinement.curve})` : ''
  const chooses = plan.passes.some((pass, index) => pass.scale === scale && plan.openCount(index) > 0)
  return {
    scale: String(scale),
    side: String(first.side),
    passes: String(passes.length),
    commits: passes.map(({ commits }) => commits).join(' + ') + curve,
    revises: passes.some(({ revises }) => revises)
      ? passes.map(({ revises = 0 }) => revises).join(' + ')
      : '',
    positions: chooses ? describeChoice(choiceAt(data.positions, scale)) : '',
    guidance: unless(0, first.guidance),
    'when masked': unless(0, masked?.guidance ?? 0),
    temperature: unless(1, first.temperature),
    'top-k': first.topK === 0 ? '' : String(first.topK),
    'top-p': unless(0, first.topP),
    'min-p': unless(0, first.minP),
    decoding: first.smooth ? 'soft' : '',
    FLOPs: cost ? `${((100 * flopsOf(plan, scale, cost)) / cost.flops).toFixed(1)}%` : '',
  }
}

function flopsOf(plan: Plan, scale: number, { perPass }: ScheduleCost): number {
  return perPass.reduce((sum, { flops }, index) => sum + (plan.passes[index]?.scale === scale ? flops : 0), 0)
}

const short = (value: number) => String(Number(value.toPrecision(3)))
const unless = (usual: number, value: number) => (value === usual ? '' : short(value))
