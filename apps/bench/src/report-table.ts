import { escapeHtml } from './charts.js'
import { formatMemory, formatPercent, formatTime } from './format.js'
import type { CaseResult } from './results.js'

type Cell = string | number | undefined

interface Column {
  readonly head: string
  readonly cell: (result: CaseResult) => Cell
  /** What the head leaves open. */
  readonly note?: string
}

/** A GPU is measured by its floor instead. */
const onCpu = (cell: Column['cell']): Column['cell'] => {
  return (result) => (result.device === 'cpu' ? cell(result) : undefined)
}

const columns: readonly Column[] = [
  { head: '', cell: ({ name }) => name },
  { head: 'batch', cell: ({ batch }) => batch },
  { head: 'median', cell: ({ time }) => formatTime(time.median) },
  {
    head: 'per picture',
    cell: ({ time, batch }) => (batch > 1 ? formatTime(time.median / batch) : undefined),
  },
  { head: 'min', cell: ({ time }) => formatTime(time.min) },
  {
    head: 'spread',
    cell: ({ time }) => formatPercent(time.spread),
    note: 'Spread: from fastest to slowest, over the median.',
  },
  { head: 'floor', cell: ({ floor }) => floor && formatTime(floor) },
  {
    head: 'of the floor',
    cell: ({ floor, time }) => floor && formatPercent(floor / time.median),
    note: 'Of the floor: the floor over the median.',
  },
  { head: 'speed, PyTorch = 1', cell: ({ speedup }) => speedup?.toFixed(2) },
  { head: 'speed, PyTorch graph = 1', cell: ({ graphSpeedup }) => graphSpeedup?.toFixed(2) },
  { head: 'decoding', cell: ({ decode }) => formatTime(decode.median) },
  { head: 'tokens/s', cell: onCpu(({ tokensPerSecond }) => tokensPerSecond.toFixed(0)) },
  { head: 'GFLOP/s, passes', cell: onCpu(({ passGigaflops }) => passGigaflops?.toFixed(0)) },
  {
    head: 'GFLOP/s, decoding',
    cell: onCpu(({ decodeGigaflops }) => decodeGigaflops?.toFixed(0)),
    note: "GFLOP/s: the operations that the schedule's cost counts, over the time they took.",
  },
  {
    head: 'load',
    cell: ({ loadMilliseconds }) => loadMilliseconds && formatTime(loadMilliseconds),
  },
  { head: 'peak memory', cell: ({ peakMemoryBytes }) => formatMemory(peakMemoryBytes) },
  {
    head: 'beyond weights',
    cell: ({ peakMemoryBytes, weightBytes }) => weightBytes && formatMemory(peakMemoryBytes - weightBytes),
  },
]

/** All cases of a model; columns that say nothing here are left out. */
export function renderTable(cases: readonly CaseResult[]): string {
  const shown = columns.filter(({ cell }) => cases.some((result) => cell(result) !== undefined))
  const rows = cases.map((result) => shown.map(({ cell }) => cell(result)))
  return `${table(
    shown.map(({ head }) => head),
    rows,
  )}
<p class="small">${shown.flatMap(({ note }) => note ?? []).join(' ')}</p>`
}

/** Where a GPU's time goes, operation by operation. */
export function renderOperations({ operations, name, batch }: CaseResult): string {
  if (!operations) return ''
  const total = operations.reduce((sum, { microseconds }) => sum + microseconds, 0)
  const rows = operations.map(({ name: operation, calls, microseconds }) => [
    operation,
    calls,
    `${(microseconds / calls).toFixed(1)} µs`,
    formatTime(microseconds / 1000),
    formatPercent(microseconds / total),
  ])
  return `<details><summary>Operations: ${escapeHtml(name)}, batch ${batch}</summary>
${table(['operation', 'calls', 'each', 'all', 'share'], rows)}
<p class="small">Measured one by one, not recorded: together they take longer than a generation does. Shares are of the operations
listed.</p></details>`
}

function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const row = (tag: 'th' | 'td', cells: readonly Cell[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(String(cell ?? '–'))}</${tag}>`).join('')}</tr>`
  return `<div class="scroll"><table>${row('th', head)}${rows.map((cells) => row('td', cells)).join('')}</table></div>`
}
