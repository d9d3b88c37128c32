import { type Bar, drawBars, drawLegend, escapeHtml } from '../charts.js'
import { formatMemory, formatTime } from '../format.js'
import { style } from '../report-style.js'
import type { Pair, Side } from './comparison.js'
import type { ComparisonResults } from './results.js'

/** One self-contained HTML page: no scripts, nothing fetched. */
export function renderComparison({
  pairs,
  device,
  date,
  commit,
  command,
  software,
}: ComparisonResults): string {
  const title = `HMAR beside VAR on ${device}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}, ${escapeHtml(date)}</title>
<style>${style}</style>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(`${software}. Commit ${commit}, ${date}.`)}</p>
<pre>${escapeHtml(command)}</pre>
<p>${method}</p>
${table(pairs)}
${resolutionsOf(pairs)
  .map((resolution) => renderResolution(pairs, resolution))
  .join('\n')}
</main>
</html>
`
}

const method = `Synthetic weights of released sizes. Both models run in the same engine and process, in turn, after warming up. Bars are medians,
whiskers reach from the fastest to the slowest generation, from labels to pixels. Memory is what is allocated beside the weights. Ratios are
VAR's over HMAR's: above 1 where HMAR is faster, or smaller.`

const resolutionsOf = (pairs: readonly Pair[]) => [...new Set(pairs.map(({ resolution }) => resolution))]

function renderResolution(pairs: readonly Pair[], resolution: number): string {
  const shown = pairs.filter((pair) => pair.resolution === resolution)
  const bars = (bar: (name: string, side: Side, ratio: string) => Bar, ratio: (pair: Pair) => number) =>
    shown.flatMap((pair) => [
      bar(`HMAR d${pair.depth} ×${pair.batch}`, pair.hmar, ''),
      bar(`VAR d${pair.depth} ×${pair.batch}`, pair.var, `, ${ratio(pair).toFixed(2)}×`),
    ])
  const time = drawBars({
    title: `Time at ${resolution} pixels`,
    format: formatTime,
    bars: bars(timeBar, ({ ratios }) => ratios.time),
  })
  const memory = drawBars({
    title: `Memory at ${resolution} pixels`,
    format: formatMemory,
    bars: bars(memoryBar, ({ ratios }) => ratios.memory),
  })
  const hasFloor = shown.some(({ hmar }) => hmar.floor !== undefined)
  return `<h2>${resolution}×${resolution} pixels</h2>
${figure('Time of a generation', legend(hasFloor) + time)}
${figure('Memory beyond the weights', legend(false) + memory)}`
}

const timeBar = (label: string, { time, decode, floor }: Side, ratio: string): Bar => ({
  label,
  segments: [
    { name: 'passes', value: time.median - decode.median, color: 0 },
    { name: 'decoding', value: decode.median, color: 'rest' },
  ],
  range: [time.min, time.max],
  note: formatTime(time.median) + ratio,
  ...(floor && { mark: floor }),
})

const memoryBar = (label: string, { passBytes, decodeBytes }: Side, ratio: string): Bar => ({
  label,
  segments: [
    { name: 'passes', value: passBytes, color: 0 },
    { name: 'decoding', value: decodeBytes, color: 'rest' },
  ],
  note: formatMemory(passBytes + decodeBytes) + ratio,
})

const legend = (hasFloor: boolean) =>
  drawLegend([
    { name: 'passes', color: 0 },
    { name: 'decoding', color: 'rest' },
    ...(hasFloor ? [{ name: 'the line: the floor', color: 'mark' } as const] : []),
  ])

const figure = (caption: string, content: string) =>
  `<figure><figcaption>${escapeHtml(caption)}</figcaption>${content}</figure>`

function table(pairs: readonly Pair[]): string {
  const heads = [
    '',
    'HMAR',
    'of its floor',
    'VAR',
    'of its floor',
    'ratio',
    'passes alone',
    'memory, HMAR',
    'memory, VAR',
    'ratio',
    'passes alone',
  ]
  const share = ({ floor, time }: Side) => (floor ? `${(time.median / floor).toFixed(2)}×` : '')
  const memory = ({ passBytes, decodeBytes }: Side) => formatMemory(passBytes + decodeBytes)
  const times = (ratio: number) => `${ratio.toFixed(2)}×`
  const rows = pairs.map(({ depth, resolution, batch, hmar, var: other, ratios }) => [
    `d${depth}, ${resolution} px, batch ${batch}`,
    formatTime(hmar.time.median),
    share(hmar),
    formatTime(other.time.median),
    share(other),
    times(ratios.time),
    times(ratios.passTime),
    memory(hmar),
    memory(other),
    times(ratios.memory),
    times(ratios.passMemory),
  ])
  const row = (cells: readonly string[], tag: 'th' | 'td') =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`
  return `<div class="scroll"><table>${row(heads, 'th')}${rows.map((cells) => row(cells, 'td')).join('')}</table></div>`
}
