import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeFileAtomically } from '@hmar/native'

import { type BenchModel, benchCases, benchModels } from './cases.js'
import { formatTime } from './format.js'
import { describeCommit, describeHost } from './host.js'
import { renderReport } from './report.js'
import { isMeasured, type Results, withSpeedups } from './results.js'
import { measureInRounds } from './rounds.js'
import { weightsFolder } from './weights-folder.js'

const help = `npm run bench -- [--model shapes|d16] [--quick] [--threads <n>] [--out <folder>]

Times generation on the CPU for the embedded model and for synthetic weights of full size, in float32 and bfloat16,
beside PyTorch in float32 where it is installed (HMAR_PYTHON names the Python that has it; it defaults to python3).
Writes JSON and an HTML page, by default into bench/results.`

const root = fileURLToPath(new URL('../../..', import.meta.url))
const { values: options } = parseArgs({
  options: {
    model: { type: 'string', multiple: true, default: [...benchModels] },
    quick: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(availableParallelism()) },
    out: { type: 'string', default: join(root, 'bench/results') },
    help: { type: 'boolean', default: false },
  },
})
const { quick, out } = options
const models = benchModels.filter((model) => options.model.includes(model))
const threads = Number(options.threads)
if (options.help || models.length === 0 || !(Number.isInteger(threads) && threads > 0)) {
  console.log(help)
  process.exit(options.help ? 0 : 2)
}

const folders = new Map<BenchModel, string>()
for (const model of models) folders.set(model, await weightsFolder(model, root))

const host = describeHost()
const measured = await measureInRounds(benchCases(models), {
  quick,
  threads,
  folderOf: ({ model }) => folders.get(model)!,
})
const results: Results = {
  date: new Date().toISOString().slice(0, 10),
  command: ['npm run bench', ...(process.argv.length > 2 ? ['--'] : []), ...process.argv.slice(2)].join(' '),
  commit: describeCommit(root),
  host,
  node: process.versions.node,
  threads,
  cases: withSpeedups(measured),
}
for (const result of results.cases) {
  const { name, model, batch } = result
  const time = isMeasured(result) ? formatTime(result.time.median) : 'not measured'
  const speedup =
    isMeasured(result) && result.speedup ? `, ${result.speedup.toFixed(2)}× PyTorch's speed` : ''
  console.log(`${model} ×${batch} ${name}: ${time}${speedup}`)
}

await mkdir(out, { recursive: true })
const file = join(out, `${results.date}-${host.device}`)
await writeFileAtomically(`${file}.json`, `${JSON.stringify(results, null, 2)}\n`)
await writeFileAtomically(`${file}.html`, renderReport(results))
console.log(`Wrote ${file}.json and ${file}.html`)
