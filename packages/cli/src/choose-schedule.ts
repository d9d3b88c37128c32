import type { ModelConfig } from '@hmar/core'
import { type PresetName, type PresetUse, presets, Schedule } from '@hmar/scheduler'
import { type Command, Option } from 'commander'

import { number } from './options.js'
import { readInput } from './read-input.js'

const presetNames = Object.keys(presets).flatMap((name) => [name, `${name}:evaluate`])

/** How pictures are to be sampled; what is left out is the model's own way. */
export interface ScheduleOptions {
  readonly schedule?: string
  readonly preset?: string
  readonly cfg?: number
  readonly topK?: number
  readonly topP?: number
  readonly temperature?: number
}

export const withScheduleOptions = (command: Command) =>
  command
    .addOption(
      new Option('--schedule <file>', 'a schedule in YAML or JSON; - is standard input').conflicts('preset'),
    )
    .addOption(new Option('--preset <name>', 'a released way of sampling').choices(presetNames))
    .addOption(
      new Option('--cfg <t>', 'guidance at the last scale, rising linearly; 0 is off').argParser(number),
    )
    .addOption(new Option('--top-k <k>', 'keep the k likeliest tokens; 0 keeps all').argParser(number))
    .addOption(
      new Option('--top-p <p>', 'keep the likeliest tokens that reach p together; 0 keeps all').argParser(
        number,
      ),
    )
    .addOption(new Option('--temperature <t>', 'logits are divided by it').argParser(number))

/**
 * The schedule that the options ask for.
 *
 * @throws {HmarError} `SCHEDULE_INVALID`, `FILE_UNREADABLE`
 * @throws {HmarRangeError} if a number is out of range
 */
export async function chooseSchedule(options: ScheduleOptions, model: ModelConfig): Promise<Schedule> {
  const { cfg, topK, topP, temperature } = options
  const schedule = await baseSchedule(options, model)
  return schedule.guidance({ scale: cfg }).sampling({ topK, topP, temperature })
}

async function baseSchedule({ schedule, preset }: ScheduleOptions, model: ModelConfig): Promise<Schedule> {
  if (schedule !== undefined) return Schedule.parse((await readInput(schedule)).toString(), model)
  if (preset === undefined) return Schedule.default(model)
  const [name, use] = preset.split(':') as [PresetName, PresetUse?]
  return Schedule.preset(name, use, model.pyramid)
}
