import type { Schedule } from '@hmar/scheduler'
import type { ModelDescription } from '@hmar/server'

import { type Composition, mostSteps, usualComposition } from './composition'
import { PlanStrip } from './plan-strip'
import { Slider } from './slider'

interface Properties {
  readonly model: ModelDescription
  readonly composition: Composition
  readonly change: (composition: Composition) => void
  readonly schedule: Schedule
  readonly usual: Schedule
}

const shapes = { linear: 'rising', constant: 'constant', 'power-cosine': 'cosine' } as const
const curves = ['uniform', 'cosine', 'power', 'logarithm', 'exponential', 'arccos', 'root'] as const
const positions = {
  'least-confident': 'confident',
  gumbel: 'confident, noisy',
  random: 'any',
  halton: 'Halton',
  locality: 'locality',
} as const

/** The controls of a schedule, with what it does and costs: worked out in the browser. */
export function SchedulePanel({ model: { config }, composition, change, schedule, usual }: Properties) {
  const set = (changes: Partial<Composition>) => change({ ...composition, ...changes })
  const [ours, theirs] = [schedule.cost(config), usual.cost(config)]
  const { differences } = schedule.diff(usual)
  const most = Math.max(ours.flops, theirs.flops)
  const refined = schedule.commits.some(({ length }) => length > 1)
  return (
    <section class="panel schedule" aria-label="Schedule">
      <div class="title">
        <h2>Schedule</h2>
        <button
          type="button"
          disabled={differences.length === 0}
          onClick={() => change(usualComposition(config))}
        >
          Reset
        </button>
      </div>
      <PlanStrip title="Default" schedule={usual} config={config} most={most} />
      <PlanStrip title="Yours" schedule={schedule} config={config} most={most} />
      <p class="cost" role="status">
        {differences.length === 0
          ? 'As the model is sampled by default.'
          : `${(ours.flops / theirs.flops).toFixed(2)} times the work of the default, ${differences.length} differences.`}
      </p>

      <fieldset>
        <legend>Passes over each scale</legend>
        <div class="steps">
          {config.pyramid.map((side, index) => (
            <label key={side}>
              <span>
                {side}×{side}
              </span>
              <select
                value={composition.steps[index] ?? ''}
                onChange={({ currentTarget: { value } }) =>
                  set({ steps: composition.steps.with(index, value === '' ? undefined : Number(value)) })
                }
              >
                <option value="">auto {usual.commits[index]!.length}</option>
                {Array.from({ length: mostSteps(side) }, (_, step) => (
                  <option key={step} value={step + 1}>
                    {step + 1}
                  </option>
                ))}
              </select>
            </label>
          ))}
        </div>
        <label>
          <span>Tokens kept by each</span>
          <select
            value={composition.curve}
            disabled={composition.steps.every((steps) => steps === undefined || steps === 1)}
            onChange={({ currentTarget }) => set({ curve: currentTarget.value as Composition['curve'] })}
          >
            {curves.map((curve) => (
              <option key={curve}>{curve}</option>
            ))}
          </select>
        </label>
        <label>
          <span>Which are kept</span>
          <select
            value={composition.positions}
            disabled={!refined}
            onChange={({ currentTarget }) =>
              set({ positions: currentTarget.value as Composition['positions'] })
            }
          >
            {Object.entries(positions).map(([kind, title]) => (
              <option key={kind} value={kind}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <Slider
          title="Revised each time"
          value={composition.revision}
          most={0.5}
          step={0.05}
          unit={(value) => `${Math.round(value * 100)}%`}
          change={(revision) => set({ revision })}
        />
      </fieldset>

      <fieldset>
        <legend>Guidance</legend>
        <Slider
          title="Strength"
          value={composition.guidance}
          most={6}
          step={0.1}
          change={(guidance) => set({ guidance })}
        />
        <label>
          <span>Over the scales</span>
          <select
            value={composition.guidanceShape}
            onChange={({ currentTarget }) =>
              set({ guidanceShape: currentTarget.value as Composition['guidanceShape'] })
            }
          >
            {Object.entries(shapes).map(([shape, title]) => (
              <option key={shape} value={shape}>
                {title}
              </option>
            ))}
          </select>
        </label>
      </fieldset>

      <fieldset>
        <legend>Drawing a token</legend>
        <Slider
          title="Temperature, coarse"
          value={composition.temperatureFrom}
          least={0.1}
          most={2}
          step={0.1}
          change={(temperatureFrom) => set({ temperatureFrom })}
        />
        <Slider
          title="Temperature, fine"
          value={composition.temperatureTo}
          least={0.1}
          most={2}
          step={0.1}
          change={(temperatureTo) => set({ temperatureTo })}
        />
        <Slider
          title="Likeliest share (top-p)"
          value={composition.topP}
          most={1}
          step={0.01}
          unit={(value) => (value === 0 ? 'all' : value.toFixed(2))}
          change={(topP) => set({ topP })}
        />
      </fieldset>

      <details>
        <summary>Explain</summary>
        {/* A person at the keyboard scrolls it, too. */}
        <section tabIndex={0} class="explanation" aria-label="The schedule explained">
          <pre>{schedule.explain(config)}</pre>
        </section>
      </details>
    </section>
  )
}
