import { escapeHtml } from '../charts.js'
import type { Peak } from '../floor.js'

/** A measured kernel in the plot. */
export interface Point {
  readonly name: string
  /** Operations for every byte that has to move. */
  readonly intensity: number
  readonly teraflops: number
  readonly color: 0 | 1 | 'rest'
}

const layout = { width: 760, height: 420, left: 60, right: 20, top: 14, bottom: 46 } as const

/**
 * What a GPU's memory and arithmetic allow, and how near each kernel comes, on logarithmic axes: as a self-contained SVG that takes
 * its colours from the page.
 */
export function drawRoofline(points: readonly Point[], peak: Peak): string {
  const { width, height, left, right, top, bottom } = layout
  const [from, to] = [8, 8192]
  const [low, high] = [10, 1000]
  const scale = (value: number, least: number, most: number, length: number) =>
    (Math.log(value / least) / Math.log(most / least)) * length
  const x = (intensity: number) => (left + scale(intensity, from, to, width - left - right)).toFixed(1)
  const y = (teraflops: number) =>
    (height - bottom - scale(teraflops, low, high, height - top - bottom)).toFixed(1)

  const arithmetic = peak.arithmetic / 1e12
  const ridge = peak.arithmetic / peak.bandwidth
  const start = Math.max(from, (low * 1e12) / peak.bandwidth)
  const roof = `<path class="whisker" d="M${x(start)} ${y((start * peak.bandwidth) / 1e12)}L${x(ridge)} ${y(arithmetic)}H${x(to)}"/>`
  const across = [16, 64, 256, 1024, 4096].map(
    (tick) => `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${top}" y2="${height - bottom}"/>
<text class="tick" x="${x(tick)}" y="${height - bottom + 18}" text-anchor="middle">${tick}</text>`,
  )
  const up = [10, 30, 100, 300, 1000].map(
    (tick) => `<line class="grid" x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}"/>
<text class="tick" x="${left - 8}" y="${Number(y(tick)) + 4}" text-anchor="end">${tick}</text>`,
  )
  const marks = points.map(
    ({ name, intensity, teraflops, color }) =>
      `<circle class="c-${color}" cx="${x(intensity)}" cy="${y(teraflops)}" r="5"><title>${escapeHtml(`${name}: ${teraflops.toFixed(0)} TFLOP/s`)}</title></circle>`,
  )
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Roofline">${[...across, ...up, roof, ...marks].join('\n')}
<text class="tick" x="${width / 2}" y="${height - 6}" text-anchor="middle">operations a byte</text>
<text class="tick" x="14" y="${height / 2}" transform="rotate(-90 14 ${height / 2})" text-anchor="middle">TFLOP/s</text></svg>`
}
