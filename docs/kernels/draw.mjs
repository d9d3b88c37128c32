// Draws the pictures of docs/kernels.md: node docs/kernels/draw.mjs
import { writeFileSync } from 'node:fs'

const tile = 64
const segments = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16].map((side) => side * side)
const tokens = segments.reduce((sum, length) => sum + length, 0)

const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #1b1f24 } .quiet { fill: #5c636b; font-size: 12px }
.page { fill: #ffffff } .useful { fill: #56b4e9 } .tile { fill: none; stroke: #1b1f24; stroke-width: 1 }
.waste { fill: #f0e4c8 } .line { stroke: #dfe2e6 } .a { fill: #56b4e9 } .b { fill: #e69f00 } .c { fill: #b4bac1 }
@media (prefers-color-scheme: dark) { text { fill: #e6e6e3 } .quiet { fill: #a2a7ad } .page { fill: #16181b }
.tile { stroke: #e6e6e3 } .waste { fill: #4a4536 } .line { stroke: #363b41 } }
</style>`

const svg = (width, height, title, content) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">
${style}<rect class="page" width="${width}" height="${height}"/>
${content}
</svg>
`

/** Neighbouring queries that share a tile, and the keys that any of them sees. */
function tilesOf(causal) {
  if (causal) {
    const end = (row) => {
      let sum = 0
      for (const length of segments) {
        sum += length
        if (row < sum) return sum
      }
      return sum
    }
    return Array.from({ length: Math.ceil(tokens / tile) }, (_, i) => {
      const last = Math.min((i + 1) * tile, tokens)
      return { first: i * tile, last, from: 0, to: end(last - 1) }
    })
  }
  const tiles = []
  let start = 0
  for (const length of segments) {
    const before = tiles.at(-1)
    if (before && start + length - before.first <= tile) {
      before.last = before.to = start + length
    } else {
      for (let first = start; first < start + length; first += tile) {
        tiles.push({ first, last: Math.min(first + tile, start + length), from: start, to: start + length })
      }
    }
    start += length
  }
  return tiles
}

function matrix(left, title, causal) {
  const scale = 400 / 704
  const at = (value) => (value * scale).toFixed(1)
  const parts = []
  for (const { first, from, to } of tilesOf(causal)) {
    const steps = Math.ceil((to - from) / tile)
    parts.push(
      `<rect class="waste" x="${at(from)}" y="${at(first)}" width="${at(steps * tile)}" height="${at(tile)}"/>`,
    )
  }
  let start = 0
  for (const length of segments) {
    const from = causal ? 0 : start
    parts.push(
      `<rect class="useful" x="${at(from)}" y="${at(start)}" width="${at(start + length - from)}" height="${at(length)}"/>`,
    )
    start += length
  }
  for (const { first, from, to } of tilesOf(causal)) {
    for (let key = from; key < to; key += tile) {
      parts.push(
        `<rect class="tile" x="${at(key)}" y="${at(first)}" width="${at(tile)}" height="${at(tile)}"/>`,
      )
    }
  }
  return `<g transform="translate(${left} 44)">${parts.join('')}</g><text x="${left}" y="26">${title}</text>`
}

writeFileSync(
  new URL('tiling.svg', import.meta.url),
  svg(
    900,
    500,
    'Tiles of a pyramid of 680 tokens',
    `${matrix(20, 'Diagonal: a segment sees itself', false)}${matrix(470, 'Causal: and all before it', true)}
<rect class="useful" x="20" y="470" width="14" height="14"/><text class="quiet" x="40" y="482">query and key that meet</text>
<rect class="waste" x="220" y="470" width="14" height="14"/><text class="quiet" x="240" y="482">multiplied, then masked: at the edges of 64×64 steps</text>`,
  ),
)

/** A lane of the timeline: spans of [start, length, colour, text]. */
function lane(row, name, spans) {
  const y = 20 + row * 40
  const bars = spans.map(
    ([start, length, color, text]) =>
      `<rect class="${color}" x="${150 + start}" y="${y}" width="${length - 2}" height="26" rx="3"/><text x="${156 + start}" y="${y + 18}" font-size="12">${text}</text>`,
  )
  return `<text x="12" y="${y + 18}">${name}</text>${bars.join('')}`
}

const step = (start, number) => [
  [start, 74, 'a', `q·k ${number + 1}`],
  [start + 74, 84, 'a', `w·v ${number}`],
]

writeFileSync(
  new URL('pipeline.svg', import.meta.url),
  svg(
    900,
    330,
    'What the warps of a block do at the same time',
    [
      lane(
        0,
        'copy engine',
        [0, 90, 180, 270, 360, 450, 540].map((x, i) => [x, 88, 'c', `stage ${i + 4}`]),
      ),
      lane(
        1,
        'three warps',
        [20, 110, 200, 290, 380, 470].map((x, i) => [x, 86, 'b', `norm ${i + 2}`]),
      ),
      lane(2, 'group A, products', [...step(60, 0), ...step(546, 1)]),
      lane(3, 'group A, weights', [
        [134, 300, 'b', 'soften 1'],
        [620, 120, 'b', 'soften 2'],
      ]),
      lane(4, 'group B, products', [...step(222, 0)]),
      lane(5, 'group B, weights', [[296, 300, 'b', 'soften 1']]),
      lane(6, 'group C, products', [...step(384, 0)]),
    ].join('\n') +
      '<text class="quiet" x="150" y="318">time → (not to scale; the tensor cores do one group’s product at a time)</text>',
  ),
)
