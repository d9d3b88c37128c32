import { drawLegend, escapeHtml } from '../charts.js'
import { peakOf } from '../floor.js'
import { formatPercent, formatTime } from '../format.js'
import { style } from '../report-style.js'
import { released } from './cases.js'
import type { Direction, KernelResult, KernelResults, Timing } from './results.js'
import { drawRoofline, type Point } from './roofline.js'

const engines = [
  ['hmar', 'HMAR for Node'],
  ['sdpa-mask', 'SDPA, mask'],
  ['flex', 'FlexAttention'],
  ['varlen', 'varlen'],
] as const

/** One self-contained HTML page: no scripts, nothing fetched. */
export function renderKernels(run: KernelResults): string {
  const { host, date, commit, command, results } = run
  const gpu = host.gpu?.name ?? 'GPU'
  const title = `Attention over pyramids on ${gpu}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HMAR for Node: ${escapeHtml(title)}, ${escapeHtml(date)}</title>
<style>${style}</style>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml([gpu, `Node ${run.node}`, run.torch && `PyTorch ${run.torch}`, `commit ${commit}`, date].filter(Boolean).join(', '))}.</p>
<pre>${escapeHtml(command)}</pre>
<p>Useful TFLOP/s, bfloat16, ${results[0]?.shape.heads ?? 16} heads of 64: keys that a query does not see are not counted. Medians between the GPU's
events; input sets take turns, so that none stays in the cache. Our kernels normalise queries and keys themselves; PyTorch gets them
normalised. The cap is what the GPU's memory and arithmetic allow, whichever is less. Released: HMAR's own kernels in fp16, measured
once on an H200, not in this run.</p>
${renderRoofline(run)}
${(['forward', 'backward'] as const).map((direction) => renderTable(results, direction)).join('\n')}
${renderSkipped(results)}
</main>
</html>
`
}

function renderTable(results: readonly KernelResult[], direction: Direction): string {
  const of = ({ timings }: KernelResult, engine: Timing['engine']) =>
    timings.find((timing) => timing.engine === engine && timing.direction === direction)
  if (!results.some(({ timings }) => timings.some((timing) => timing.direction === direction))) return ''
  const heads = [
    '',
    ...engines.map(([, name]) => name),
    'released',
    'cap',
    'of the cap',
    'time',
    'best of PyTorch = 1',
  ]
  const rows = results.map((result) => {
    const { resolution, shape } = result
    const ours = of(result, 'hmar')
    const cap = direction === 'forward' ? result.cap : undefined
    return [
      `${resolution} px ×${shape.images}, ${shape.pattern}`,
      ...engines.map(([engine]) => of(result, engine)?.teraflops.toFixed(0)),
      released[resolution][shape.pattern][direction],
      cap?.toFixed(0),
      cap && ours && formatPercent(ours.teraflops / cap),
      ours && formatTime(ours.milliseconds),
      ours?.speedup?.toFixed(2),
    ]
  })
  const line = (tag: string, cells: readonly unknown[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(String(cell ?? ''))}</${tag}>`).join('')}</tr>`
  return `<h2>${direction === 'forward' ? 'Forward' : 'Backward'}</h2>
<div class="scroll"><table>${line('th', heads)}${rows.map((row) => line('td', row)).join('')}</table></div>`
}

function renderRoofline({ host, results }: KernelResults): string {
  const peak = host.gpu && peakOf(host.gpu.name)
  if (!peak) return ''
  const points = results.flatMap(({ resolution, shape, flops, bytes, timings }) =>
    timings
      .filter(({ direction }) => direction === 'forward')
      .map(
        ({ engine, teraflops }): Point => ({
          name: `${resolution} px, ${shape.pattern}, ${engine}`,
          intensity: flops / bytes,
          teraflops,
          color: engine !== 'hmar' ? 'rest' : shape.pattern === 'diagonal' ? 0 : 1,
        }),
      ),
  )
  const legend = drawLegend([
    { name: 'ours, diagonal', color: 0 },
    { name: 'ours, causal', color: 1 },
    { name: 'PyTorch', color: 'rest' },
  ])
  return `<figure><figcaption>Forward, below the roof of what memory and arithmetic allow</figcaption>${legend}${drawRoofline(points, peak)}</figure>`
}

function renderSkipped(results: readonly KernelResult[]): string {
  const reasons = results.flatMap(({ skipped }) =>
    skipped.map(({ engine, skipped: why }) => `${engine}: ${why}`),
  )
  return [...new Set(reasons)].map((reason) => `<p>Not measured: ${escapeHtml(reason)}</p>`).join('\n')
}
