/** A part of a bar: how long it is, and which of the palette's colours it has. */
export interface Segment {
  readonly name: string
  readonly value: number
  /** `rest` is for what needs no colour of its own. */
  readonly color: 0 | 1 | 'rest'
}

export interface Bar {
  readonly label: string
  readonly segments: readonly Segment[]
  /** What stands behind the bar. */
  readonly note: string
  /** The least and the greatest value measured. */
  readonly range?: readonly [number, number]
  /** A value to compare with, drawn as a line across the bar. */
  readonly mark?: number
}

/** What a colour stands for, or the line across a bar. */
export interface LegendEntry {
  readonly name: string
  readonly color: Segment['color'] | 'mark'
}

export interface BarChart {
  readonly title: string
  readonly bars: readonly Bar[]
  readonly format: (value: number) => string
}

const layout = { width: 760, label: 165, note: 130, bar: 24, gap: 14, top: 6, axis: 24 } as const

/** Horizontal bars, one over another, as a self-contained SVG that takes its colours from the page. */
export function drawBars({ title, bars, format }: BarChart): string {
  const { width, label, note, bar, gap, top, axis } = layout
  const most = Math.max(
    ...bars.map(({ segments, range, mark }) => Math.max(sum(segments), range?.[1] ?? 0, mark ?? 0)),
  )
  const ticks = niceTicks(most)
  const scale = (value: number) => (value / Math.max(most, ticks.at(-1)!)) * (width - label - note)
  const height = top + bars.length * (bar + gap) + axis
  const x = (value: number) => (label + scale(value)).toFixed(1)

  const grid = ticks.map(
    (tick) => `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${top}" y2="${height - axis}"/>
<text class="tick" x="${x(tick)}" y="${height - axis + 16}" text-anchor="middle">${escapeHtml(format(tick))}</text>`,
  )
  const rows = bars.map(({ label: name, segments, note: text, range, mark }, row) => {
    const y = top + row * (bar + gap) + gap / 2
    const middle = y + bar / 2
    let from = 0
    const parts = segments.map((segment) => {
      const rect = `<rect class="c-${segment.color}" x="${x(from)}" y="${y}" width="${scale(segment.value).toFixed(1)}" height="${bar}"><title>${escapeHtml(`${segment.name}: ${format(segment.value)}`)}</title></rect>`
      from += segment.value
      return rect
    })
    const whisker =
      range === undefined
        ? ''
        : `<path class="whisker" d="M${x(range[0])} ${middle - 5}v10M${x(range[0])} ${middle}H${x(range[1])}M${x(range[1])} ${middle - 5}v10"><title>${escapeHtml(`${format(range[0])} to ${format(range[1])}`)}</title></path>`
    const line =
      mark === undefined
        ? ''
        : `<line class="mark" x1="${x(mark)}" x2="${x(mark)}" y1="${y - 4}" y2="${y + bar + 4}"/>`
    const end = Math.max(from, range?.[1] ?? 0, mark ?? 0)
    return `<text x="${label - 10}" y="${middle + 4}" text-anchor="end">${escapeHtml(name)}</text>${parts.join('')}${whisker}${line}
<text class="note" x="${(label + scale(end) + 8).toFixed(1)}" y="${middle + 4}">${escapeHtml(text)}</text>`
  })
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">${grid.join('')}${rows.join('\n')}</svg>`
}

/** What the colours of a chart stand for. */
export function drawLegend(entries: readonly LegendEntry[]): string {
  const items = entries.map(({ name, color }) => `<li><i class="c-${color}"></i>${escapeHtml(name)}</li>`)
  return `<ul class="legend">${items.join('')}</ul>`
}

const sum = (segments: readonly Segment[]) => segments.reduce((total, { value }) => total + value, 0)

/** From 0 to at most `most`, some five steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(most: number): number[] {
  if (!(most > 0)) return [0]
  const rough = most / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step)
}

/** Text as it may stand in HTML. */
export const escapeHtml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
