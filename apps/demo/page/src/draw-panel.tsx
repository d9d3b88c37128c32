import type { Schedule } from '@hmar/scheduler'
import type { ModelDescription } from '@hmar/server'
import { useRef, useState } from 'preact/hooks'

import { type ChosenLabel, LabelPicker } from './label-picker'
import { randomSeed } from './random-seed'
import type { Request } from './studio'

interface Properties {
  readonly model: ModelDescription
  /** The composed schedule, where it is another than the model's. */
  readonly schedule: Schedule | undefined
  readonly usual: Schedule
  readonly request: (request: Request) => void
  readonly open: (file: File) => void
}

/** What to draw, and the button that draws it. */
export function DrawPanel({ model, schedule, usual, request, open }: Properties) {
  const [chosen, setChosen] = useState<readonly ChosenLabel[]>([])
  const [count, setCount] = useState(1)
  const [seed, setSeed] = useState('')
  const file = useRef<HTMLInputElement>(null)
  const nextPair = useRef(1)

  const labels = chosen.length > 0 ? chosen : [{ label: null, name: 'no class' }]
  const each = labels.flatMap((label) => Array<ChosenLabel>(count).fill(label))
  const body = {
    labels: labels.map(({ label }) => label),
    count,
    ...(seed !== '' && { seed }),
    ...(schedule && { schedule }),
  }
  const draw = () => request({ model, path: 'generate', body, titles: each.map(({ name }) => name) })
  const compare = () => {
    const [label] = labels as [ChosenLabel]
    const id = nextPair.current++
    const same = { labels: [label.label], seed: seed === '' ? randomSeed() : seed }
    for (const [role, how] of [
      ['yours', schedule ?? usual],
      ['default', usual],
    ] as const)
      request({
        model,
        path: 'generate',
        body: { ...same, schedule: how },
        titles: [label.name],
        pair: { id, role },
      })
  }

  return (
    <form
      class="panel draw"
      aria-label="Draw"
      onSubmit={(event) => {
        event.preventDefault()
        draw()
      }}
    >
      <LabelPicker model={model.name} title="Labels" chosen={chosen} change={setChosen} several />
      <div class="fields">
        <label>
          <span>Pictures of each</span>
          <input
            type="number"
            min="1"
            max="4"
            required
            value={count}
            onInput={({ currentTarget }) =>
              setCount(Math.min(4, Math.max(1, currentTarget.valueAsNumber || 1)))
            }
          />
        </label>
        <label>
          <span>Seed</span>
          <input
            inputmode="numeric"
            pattern="\d{1,19}"
            placeholder="a new one"
            title="A whole number; empty for a new one each time"
            value={seed}
            onInput={({ currentTarget }) => setSeed(currentTarget.value.trim())}
          />
        </label>
      </div>
      <button class="primary" type="submit">
        Draw {each.length === 1 ? each[0]!.name : `${each.length} pictures`}
      </button>
      <div class="row">
        <button
          type="button"
          aria-label="Compare schedules"
          disabled={!schedule}
          title={schedule ? '' : 'Compose a schedule first'}
          onClick={compare}
        >
          Compare
        </button>
        <button type="button" onClick={() => file.current!.click()}>
          Open a file
        </button>
        <input
          ref={file}
          class="hidden"
          type="file"
          aria-label="A picture, or a recipe"
          tabIndex={-1}
          accept="image/png,image/jpeg,image/webp,application/json,.json"
          onChange={({ currentTarget }) => {
            const [first] = currentTarget.files ?? []
            if (first) open(first)
            currentTarget.value = ''
          }}
        />
      </div>
      {schedule && <p class="hint">Drawn by your schedule, {schedule.compile().passes.length} passes.</p>}
    </form>
  )
}
