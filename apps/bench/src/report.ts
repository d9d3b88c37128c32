import { type BenchModel, benchModels } from './cases.js'
import { type Bar, drawBars, drawLegend, escapeHtml, type Segment } from './charts.js'
import { formatMemory, formatPercent, formatTime } from './format.js'
import { style } from './report-style.js'
import { type CaseResult, isMeasured, type Results } from './results.js'

/** One self-contained HTML page: no scripts, nothing fetched. */
export function renderReport(results: Results): string {
  const { host, threads, date, commit, command } = results
  const torch = results.cases.flatMap((result) => (isMeasured(result) && result.torch) || [])[0]
  const software = [`Node ${results.node}`, ...(torch ? [`PyTorch ${torch}`] : [])]
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HMAR for Node: generation on the CPU, ${escapeHtml(date)}</title>
<style>${style}</style>
<main>
<h1>Generation on the CPU</h1>
<p>${escapeHtml(host.cpu)}, ${threads} of ${host.cores} threads, ${formatMemory(host.memoryBytes)}, ${escapeHtml(host.system)}.
${escapeHtml(software.join(', '))}. Commit ${escapeHtml(commit)}, ${escapeHtml(date)}.</p>
<pre>${escapeHtml(command)}</pre>
<p>Every case ran in processes of its own, the cases in turn, all on as many threads. Bars are medians, whiskers reach from the fastest
to the slowest generation. A generation starts with labels and ends with pixels; loading is not in it.</p>
${benchModels
  .filter((model) => results.cases.some((result) => isMeasured(result) && result.model === model))
  .map((model) => renderModel(model, results))
  .join('\n')}
${renderSkipped(results)}
</main>
</html>
`
}

function renderModel(model: BenchModel, results: Results): string {
  const cases = results.cases.filter(isMeasured).filter((result) => result.model === model)
  const batches = [...new Set(cases.map(({ batch }) => batch))]
  return `<h2>${titles[model]}</h2>
${renderTable(cases)}
${batches.map((batch) => renderTime(cases, batch)).join('\n')}
${cases
  .filter(({ batch }) => batch === 1)
  .map(renderPasses)
  .join('\n')}
${renderMemory(cases)}`
}

const titles: Readonly<Record<BenchModel, string>> = {
  shapes: 'shapes, the embedded model: 64×64 pixels',
  d16: 'Synthetic d16, the smallest released size: 256×256 pixels',
}

function renderTable(cases: readonly CaseResult[]): string {
  const head = [
    '',
    'batch',
    'median',
    'min',
    'spread',
    'speed, PyTorch = 1',
    'passes',
    'tokens/s',
    'GFLOP/s, passes',
    'GFLOP/s, decoding',
    'load',
    'peak memory',
    'of weights',
  ]
  const rows = cases.map((result) => [
    result.name,
    result.batch,
    formatTime(result.time.median),
    formatTime(result.time.min),
    formatPercent(result.time.spread),
    result.speedup?.toFixed(2),
    result.passes,
    result.tokensPerSecond.toFixed(0),
    result.passGigaflops?.toFixed(0),
    result.decodeGigaflops?.toFixed(0),
    result.loadMilliseconds && formatTime(result.loadMilliseconds),
    formatMemory(result.peakMemoryBytes),
    result.weightBytes && formatPercent(result.peakMemoryBytes / result.weightBytes),
  ])
  const row = (tag: 'th' | 'td', cells: readonly (string | number | undefined)[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(String(cell ?? '–'))}</${tag}>`).join('')}</tr>`
  return `<div class="scroll"><table>${row('th', head)}${rows.map((cells) => row('td', cells)).join('')}</table></div>
<p class="small">Spread: from fastest to slowest, over the median. GFLOP/s: the operations that the schedule's cost counts, over
the time they took.</p>`
}

const timeLegend = [
  { name: 'passes', color: 0 },
  { name: 'decoding', color: 'rest' },
] as const

const passLegend = [
  { name: 'next-scale pass', color: 0 },
  { name: 'masked pass', color: 1 },
  { name: 'decoding', color: 'rest' },
] as const

function renderTime(cases: readonly CaseResult[], batch: number): string {
  const chart = drawBars({
    title: `Time of a generation, batch ${batch}`,
    format: formatTime,
    bars: cases
      .filter((result) => result.batch === batch)
      .map(({ name, time, decode, speedup }) => ({
        label: name,
        segments: [
          { name: 'passes', value: time.median - decode.median, color: 0 },
          { name: 'decoding', value: decode.median, color: 'rest' },
        ],
        range: [time.min, time.max],
        note:
          formatTime(time.median) +
          (speedup === undefined || speedup === 1 ? '' : `, ${speedup.toFixed(2)}×`),
      })),
  })
  return figure(`Time of a generation, batch ${batch}`, drawLegend(timeLegend) + chart)
}

function renderPasses({ name, passTimes, decode, time }: CaseResult): string {
  if (!passTimes) return ''
  const bar = (label: string, milliseconds: number, color: Segment['color']): Bar => ({
    label,
    segments: [{ name: label, value: milliseconds, color }],
    note: `${formatTime(milliseconds)}, ${formatPercent(milliseconds / time.median)}`,
  })
  const passes = passTimes.map(({ kind, scale, milliseconds }) =>
    kind === 'masked'
      ? bar(`scale ${scale}, masked`, milliseconds, 1)
      : bar(`scale ${scale}`, milliseconds, 0),
  )
  const chart = drawBars({
    title: `Time of each pass, ${name}`,
    format: formatTime,
    bars: [...passes, bar('decoding', decode.median, 'rest')],
  })
  return figure(`Where the time goes: ${name}, batch 1`, drawLegend(passLegend) + chart)
}

function renderMemory(cases: readonly CaseResult[]): string {
  const chart = drawBars({
    title: 'Peak memory',
    format: formatMemory,
    bars: cases.map(({ name, batch, engine, peakMemoryBytes, weightBytes }) => ({
      label: `${name}, ${batch}`,
      segments: [{ name: 'peak', value: peakMemoryBytes, color: engine === 'hmar' ? 0 : 'rest' }],
      note: formatMemory(peakMemoryBytes),
      ...(weightBytes && { mark: weightBytes }),
    })),
  })
  return figure('Peak memory of the process, by precision and batch; the line marks its weights', chart)
}

function renderSkipped({ cases }: Results): string {
  const reasons = new Set(cases.flatMap((result) => (isMeasured(result) ? [] : result.skipped)))
  return [...reasons].map((reason) => `<p>PyTorch was not measured: ${escapeHtml(reason)}</p>`).join('\n')
}

const figure = (caption: string, content: string) =>
  `<figure><figcaption>${escapeHtml(caption)}</figcaption>${content}</figure>`
