import type { Pass } from '@hmar/core'
import type { ScheduleCost } from './cost.js'
import type { Plan } from './plan.js'
import { choiceAt } from './positions/position-choice.js'
import { describeChoice } from './positions/words.js'
import type { ScheduleData } from './schedule-data.js'
import { formatTable } from './table.js'

/** A schedule in words: what its plan does, a line a scale. Columns in which nothing happens are left out. */
export function explain(data: ScheduleData, plan: Plan, cost?: ScheduleCost): string {
  const header = ['scale', 'side', 'passes', 'commits', 'revises', 'positions', 'guidance', 'when masked']
  const more = ['temperature', 'top-k', 'top-p', 'min-p', 'decoding', 'FLOPs']
  const rows = data.pyramid.map((_, index) => rowOf(data, plan, index + 1, cost))
  const kept = [...header, ...more].map((name, column) => ({
    name,
    column,
    isUsed: rows.some((row) => row[column] !== ''),
  }))
  const used = kept.filter(({ isUsed }) => isUsed)
  const masked = plan.passes.filter(({ kind }) => kind === 'masked').length
  const table = formatTable([
    used.map(({ name }) => name),
    ...rows.map((row) => used.map(({ column }) => row[column] || '–')),
  ])
  return [
    `${plan.passes.length} passes over ${data.pyramid.length} scales, ${masked} of them masked; plan ${plan.hash}`,
    table,
    ...(cost
      ? [`${short(cost.flops / 1e9)} GFLOP and ${short(cost.weightBytes / 1e6)} MB of weights in all`]
      : []),
  ].join('\n')
}

function rowOf(data: ScheduleData, plan: Plan, scale: number, cost?: ScheduleCost): string[] {
  const passes = plan.passes.filter((pass) => pass.scale === scale)
  const [first, masked] = passes as [Pass, Pass | undefined]
  const refinement = data.refinements[scale - 1]
  const curve = refinement !== undefined && 'curve' in refinement ? ` (${refinement.curve})` : ''
  const chooses = passes.some((pass) => plan.openCount(plan.passes.indexOf(pass)) > 0)
  const flops = cost?.perPass.filter((_, index) => plan.passes[index]?.scale === scale)
  const share = flops && flops.reduce((sum, pass) => sum + pass.flops, 0) / (cost?.flops ?? 1)
  const off = (value: number) => (value === 0 ? '' : String(value))
  return [
    String(scale),
    String(first.side),
    String(passes.length),
    passes.map(({ commits }) => commits).join(' + ') + curve,
    passes.some(({ revises }) => revises) ? passes.map(({ revises = 0 }) => revises).join(' + ') : '',
    chooses ? describeChoice(choiceAt(data.positions, scale)) : '',
    first.guidance === 0 ? '' : short(first.guidance),
    masked === undefined || masked.guidance === 0 ? '' : short(masked.guidance),
    first.temperature === 1 ? '' : short(first.temperature),
    off(first.topK),
    off(first.topP),
    off(first.minP),
    first.smooth ? 'soft' : '',
    share === undefined ? '' : `${(100 * share).toFixed(1)}%`,
  ]
}

const short = (value: number) => String(Number(value.toPrecision(3)))
