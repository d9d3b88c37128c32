import { type Bar, drawBars, drawLegend, escapeHtml, type Segment } from './charts.js'
import { formatMemory, formatPercent, formatTime } from './format.js'
import type { Opening } from './opening.js'
import type { CaseResult } from './results.js'

const timeLegend = [
  { name: 'passes', color: 0 },
  { name: 'decoding', color: 'rest' },
] as const

const passLegend = [
  { name: 'next-scale pass', color: 0 },
  { name: 'masked pass', color: 1 },
  { name: 'decoding', color: 'rest' },
] as const

const memoryLegend = [
  { name: 'weights', color: 'rest' },
  { name: 'beyond them', color: 0 },
] as const

const marked = { name: 'the line: the floor', color: 'mark' } as const

/** How much of its floor every case of ours reaches. */
export function renderFloors(cases: readonly CaseResult[]): string {
  const ours = cases.filter(({ engine, floor }) => engine === 'hmar' && floor !== undefined)
  if (ours.length === 0) return ''
  const chart = drawBars({
    title: 'Share of the floor',
    format: formatPercent,
    bars: ours.map(({ model, batch, floor, time, graphSpeedup }) => ({
      label: `${model} ×${batch}`,
      segments: [{ name: 'floor over time', value: floor! / time.median, color: 0 }],
      note: `${formatTime(time.median)}${graphSpeedup ? `, ${graphSpeedup.toFixed(1)}×` : ''}`,
    })),
  })
  return figure(
    'Share of the floor that is reached: 100% could not be faster. Behind it the time, and how many times PyTorch takes in one graph',
    chart,
  )
}

/** All engines at one batch. */
export function renderTime(cases: readonly CaseResult[], batch: number): string {
  const shown = cases.filter((result) => result.batch === batch)
  const chart = drawBars({
    title: `Time of a generation, batch ${batch}`,
    format: formatTime,
    bars: shown.map(({ name, time, decode, speedup, floor }) => ({
      label: name,
      segments: [
        { name: 'passes', value: time.median - decode.median, color: 0 },
        { name: 'decoding', value: decode.median, color: 'rest' },
      ],
      range: [time.min, time.max],
      note:
        formatTime(time.median) + (speedup === undefined || speedup === 1 ? '' : `, ${speedup.toFixed(2)}×`),
      ...(floor && { mark: floor }),
    })),
  })
  const legend = shown.some(({ floor }) => floor) ? [...timeLegend, marked] : timeLegend
  return figure(`Time of a generation, batch ${batch}`, drawLegend(legend) + chart)
}

/** Pass by pass. */
export function renderPasses({ name, batch, passTimes, decode, decodeFloor, time }: CaseResult): string {
  if (!passTimes) return ''
  const bar = (label: string, milliseconds: number, color: Segment['color'], floor?: number): Bar => ({
    label,
    segments: [{ name: label, value: milliseconds, color }],
    note: `${formatTime(milliseconds)}, ${formatPercent(milliseconds / time.median)}`,
    ...(floor && { mark: floor }),
  })
  const passes = passTimes.map(({ kind, scale, milliseconds, floor }) =>
    kind === 'masked'
      ? bar(`scale ${scale}, masked`, milliseconds, 1, floor)
      : bar(`scale ${scale}`, milliseconds, 0, floor),
  )
  const chart = drawBars({
    title: `Time of each pass, ${name}`,
    format: formatTime,
    bars: [...passes, bar('decoding', decode.median, 'rest', decodeFloor)],
  })
  const legend = decodeFloor ? [...passLegend, marked] : passLegend
  return figure(`Where the time goes: ${name}, batch ${batch}`, drawLegend(legend) + chart)
}

/** Weights, and what is needed beyond them. */
export function renderMemory(cases: readonly CaseResult[]): string {
  const chart = drawBars({
    title: 'Peak memory',
    format: formatMemory,
    bars: cases.map(({ name, batch, peakMemoryBytes, weightBytes = 0 }) => ({
      label: `${name}, ${batch}`,
      segments: [
        { name: 'weights', value: weightBytes, color: 'rest' },
        { name: 'beyond them', value: peakMemoryBytes - weightBytes, color: 0 },
      ],
      note: formatMemory(peakMemoryBytes),
    })),
  })
  const of = cases.every(({ device }) => device === 'cpu') ? 'of the process' : 'on the GPU'
  return figure(`Peak memory ${of}, by engine and batch`, drawLegend(memoryLegend) + chart)
}

/** The way from a file to a picture. */
export function renderOpening({ model, bytes, read, loaded, firstPicture }: Opening): string {
  const chart = drawBars({
    title: 'From a file to a picture',
    format: formatTime,
    bars: [
      {
        label: 'reading it once',
        segments: [{ name: 'reading', value: read.median, color: 'rest' }],
        range: [read.min, read.max],
        note: formatTime(read.median),
      },
      {
        label: 'to the picture',
        segments: [
          { name: 'starting, loading', value: loaded.median, color: 0 },
          { name: 'the first picture', value: firstPicture.median - loaded.median, color: 1 },
        ],
        range: [firstPicture.min, firstPicture.max],
        note: formatTime(firstPicture.median),
        mark: read.median + 1000,
      },
    ],
  })
  const legend = [
    { name: 'starting, loading', color: 0 },
    { name: 'the first picture', color: 1 },
    { name: 'the line: reading it once, and a second', color: 'mark' },
  ] as const
  return figure(
    `From ${model}'s files on disk (${formatMemory(bytes)}, in the page cache) to its first picture, from the start of the process`,
    drawLegend(legend) + chart,
  )
}

const figure = (caption: string, content: string) =>
  `<figure><figcaption>${escapeHtml(caption)}</figcaption>${content}</figure>`
