import type { ModelConfig } from '@hmar/core'
import type { Schedule } from '@hmar/scheduler'

interface Properties {
  readonly title: string
  readonly schedule: Schedule
  readonly config: ModelConfig
  /** What full width is worth, in operations. */
  readonly most: number
}

/** The passes of a schedule in order: as wide as they cost, coloured by scale, hatched where masked. */
export function PlanStrip({ title, schedule, config, most }: Properties) {
  const { passes } = schedule.compile(config)
  const { perPass, flops } = schedule.cost(config)
  const scales = config.pyramid.length
  return (
    <figure class="plan">
      <figcaption>
        <span>{title}</span>
        <span>
          {passes.length} passes, {(flops / 1e9).toFixed(2)} GFLOP
        </span>
      </figcaption>
      <div role="img" aria-label={`${title}: ${passes.length} passes`}>
        {passes.map(({ scale, kind, commits }, index) => (
          <i
            key={index}
            class={kind}
            title={`Scale ${scale}, ${kind}: ${commits} tokens`}
            style={{ '--hue': (scale - 1) / (scales - 1), width: `${(100 * perPass[index]!.flops) / most}%` }}
          />
        ))}
      </div>
    </figure>
  )
}
