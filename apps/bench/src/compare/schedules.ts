import { type ModelConfig, PYRAMIDS, samePyramid } from '@hmar/core'
import { Schedule } from '@hmar/scheduler'

/**
 * How a model is sampled here: as released. At 1024 pixels, for which no schedule was released, HMAR refines its smallest
 * scales as at 256. VAR's pictures are evaluated with less guidance than shown ones.
 */
export function scheduleOf(config: ModelConfig): Schedule {
  if (config.layout === 'var') return Schedule.preset('var', 'evaluate', config.pyramid)
  const schedule = Schedule.default(config)
  if (!samePyramid(config.pyramid, PYRAMIDS[1024])) return schedule
  return schedule.refine(2, [1, 3]).refine(3, [1, 1, 2, 5])
}
