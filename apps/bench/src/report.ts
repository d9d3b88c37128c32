import { type BenchModel, benchModels } from './cases.js'
import { escapeHtml } from './charts.js'
import { formatMemory } from './format.js'
import { renderFloors, renderMemory, renderOpening, renderPasses, renderTime } from './report-figures.js'
import { style } from './report-style.js'
import { renderOperations, renderTable } from './report-table.js'
import { type CaseResult, isMeasured, type Results } from './results.js'

/** One self-contained HTML page: no scripts, nothing fetched. */
export function renderReport(results: Results): string {
  const { host, threads, date, commit, command, quick } = results
  const cases = results.cases.filter(isMeasured)
  const torch = cases.flatMap((result) => result.torch ?? [])[0]
  const software = [`Node ${results.node}`, ...(torch ? [`PyTorch ${torch}`] : [])]
  const title = `Generation on ${host.gpu ? host.gpu.name : 'the CPU'}`
  const gpu = host.gpu ? [host.gpu.name, ...host.gpu.features].join(', ') : undefined
  const machine = [
    gpu,
    `${host.cpu}, ${threads} of ${host.cores} threads, ${formatMemory(host.memoryBytes)}, ${host.system}`,
    software.join(', '),
    `Commit ${commit}, ${date}${quick ? ', quick' : ''}`,
  ]
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HMAR for Node: ${escapeHtml(title)}, ${escapeHtml(date)}</title>
<style>${style}</style>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${machine
    .filter((line) => line !== undefined)
    .map((line) => `${escapeHtml(line)}.`)
    .join('\n')}</p>
<pre>${escapeHtml(command)}</pre>
<p>${host.gpu ? onGpu : onCpu}</p>
${renderFloors(cases)}
${results.openings.map(renderOpening).join('\n')}
${benchModels
  .map((model) => cases.filter((result) => result.model === model))
  .filter((ofModel) => ofModel.length > 0)
  .map(renderModel)
  .join('\n')}
${renderSkipped(results)}
</main>
</html>
`
}

const onCpu = `Every case ran in processes of its own, the cases in turn, all on as many threads. Bars are medians, whiskers reach from the
fastest to the slowest generation. A generation starts with labels and ends with pixels; loading is not in it.`

const onGpu = `Every engine ran in processes of its own, in turn, after warming up. Bars are medians by the GPU's events, whiskers reach from
the fastest to the slowest generation. A generation starts with labels, other ones each time, and ends with pixels in the
host's memory; loading is not in it. The floor is bytes over bandwidth or operations over arithmetic, whichever is longer, part by
part. PyTorch graph: the whole generation recorded as one CUDA graph; its decoding was measured alone.`

function renderModel(cases: readonly CaseResult[]): string {
  const batches = [...new Set(cases.map(({ batch }) => batch))]
  const [{ model }] = cases as [CaseResult]
  const ours = cases.filter(({ passTimes }) => passTimes !== undefined)
  const details = ours.filter(({ batch }) => batch === 1 || batch === 64)
  return `<h2>${titles[model]}</h2>
${renderTable(cases)}
${batches.map((batch) => renderTime(cases, batch)).join('\n')}
${details.map(renderPasses).join('\n')}
${details.map(renderOperations).join('\n')}
${renderMemory(cases)}`
}

const titles: Readonly<Record<BenchModel, string>> = {
  shapes: 'shapes, the embedded model: 64×64 pixels',
  d16: 'Synthetic d16: 256×256 pixels',
  d20: 'Synthetic d20: 256×256 pixels',
  d24: 'Synthetic d24: 256×256 pixels',
  d30: 'Synthetic d30: 256×256 pixels',
  'd24-512': 'Synthetic d24: 512×512 pixels',
}

function renderSkipped({ cases }: Results): string {
  const reasons = cases.flatMap((result) =>
    isMeasured(result) ? [] : `${result.name} was not measured: ${result.skipped}`,
  )
  return [...new Set(reasons)].map((reason) => `<p>${escapeHtml(reason)}</p>`).join('\n')
}
