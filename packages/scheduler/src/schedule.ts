import {
  checkInteger,
  checkOptions,
  checkPyramid,
  HmarError,
  type ModelConfig,
  PYRAMIDS,
  type Pyramid,
  type SamplingConfig,
  samePyramid,
} from '@hmar/core'
import { parse as parseYaml } from 'yaml'
import { passesOf } from './compile.js'
import { type CostOptions, costOf, type ScheduleCost } from './cost.js'
import { diffPlans, type ScheduleDiff } from './diff.js'
import { explain } from './explain.js'
import { deepFreeze } from './frozen.js'
import { checkGuidance, GuidanceOptions, unguided } from './guidance.js'
import { HmarConfig } from './hmar-config.js'
import { invalid, parseData } from './invalid.js'
import { override } from './options.js'
import { Plan } from './plan.js'
import type { ScorePositions } from './positions/pass-state.js'
import { checkPositions, choiceAt, PositionChoice, type PositionData } from './positions/position-choice.js'
import {
  defaultCommitsOf,
  type Preset,
  type PresetName,
  type PresetUse,
  presetOfDepth,
  presets,
} from './presets.js'
import { commitsOf, Refinement } from './refinement.js'
import { type Counts, Revision, revised } from './revision.js'
import { checkSampling, SamplingOptions, unfiltered } from './sampling.js'
import { type ScheduleData, ScheduleJson } from './schedule-data.js'

/** What a schedule has to know of a model. */
export type ScheduledModel = Pick<ModelConfig, 'pyramid' | 'layout'>

/** What the default schedule of a model depends on. */
export type DefaultModel = Pick<ModelConfig, 'pyramid' | 'layout' | 'depth' | 'sampling'>

/** The caller's own ways of choosing positions, by their names. */
type Functions = ReadonlyMap<string, ScorePositions>

/**
 * How pictures are sampled: the passes over each scale, their guidance and the way tokens are drawn. Immutable: every
 * method gives a new schedule, and every schedule that exists is usable on its pyramid.
 *
 * @example
 * ```ts
 * const schedule = Schedule.forPyramid([1, 2, 3, 4, 6, 8])
 *   .refine(2, [1, 3])
 *   .refine(3, { curve: 'cosine', steps: 4 })
 *   .guidance({ nextScale: 'linear', scale: 1.7 })
 *   .sampling({ topK: 1000, topP: 0.99 })
 * console.log(String(schedule.compile()))
 * ```
 */
export class Schedule {
  /**
   * The tokens that each pass commits, a list a scale: the next-scale pass first, then the masked ones. Where tokens are
   * revised, they are counted each time they are committed.
   */
  readonly commits: readonly (readonly number[])[]
  readonly #data: ScheduleData
  readonly #functions: Functions
  /** What each pass would commit without revision. */
  readonly #refinements: readonly (readonly number[])[]
  readonly #counts: readonly (readonly Counts[])[]

  private constructor(data: ScheduleData, functions: Functions) {
    const { pyramid, refinements, revisions, guidance, sampling, positions } = data
    for (const [name, { length }] of Object.entries({ refinements, revisions }))
      if (length !== pyramid.length)
        throw invalid('it does not fit its pyramid', {
          found: `${name} of ${length} scales`,
          expected: `one for each of ${pyramid.length} scales`,
        })
    checkPasses(refinements, revisions)
    checkGuidance(guidance, pyramid)
    checkSampling(sampling, pyramid)
    checkPositions(positions, pyramid)
    this.#refinements = refinements.map((refinement, index) =>
      commitsOf(refinement, index + 1, pyramid[index] as number),
    )
    this.#counts = this.#refinements.map((commits, index) =>
      revised(commits, revisions[index] as Revision, index + 1),
    )
    this.commits = deepFreeze(this.#counts.map((counts) => counts.map(({ commits }) => commits)))
    this.#data = deepFreeze(structuredClone(data))
    this.#functions = functions
    Object.freeze(this)
  }

  /**
   * One next-scale pass a scale, without guidance or filters.
   *
   * @throws {HmarError} `CONFIG_INVALID` if the sides are no pyramid.
   */
  static forPyramid(pyramid: Pyramid): Schedule {
    return new Schedule(
      {
        version: 1,
        pyramid: checkPyramid(pyramid),
        refinements: pyramid.map((side) => [side * side]),
        revisions: pyramid.map(() => []),
        guidance: unguided,
        sampling: unfiltered,
        positions: { kind: 'least-confident' },
      },
      new Map(),
    )
  }

  /**
   * A released way of sampling, with HMAR's default lists for the pyramid (256 and 512 pixels have them).
   *
   * @param use - Defaults to `sample`.
   * @param pyramid - Defaults to that of 256 pixels.
   */
  static preset(name: PresetName, use: PresetUse = 'sample', pyramid: Pyramid = PYRAMIDS[256]): Schedule {
    const preset: Preset | undefined = presets[name]?.[use]
    if (preset === undefined)
      throw new HmarError('SCHEDULE_INVALID', `There is no preset ${name} to ${use}.`, {
        expected: `${Object.keys(presets).join(', ')}, to sample or to evaluate`,
      })
    const schedule = Schedule.forPyramid(pyramid).#with(preset)
    return name === 'var' ? schedule : schedule.#committing(defaultCommitsOf(pyramid))
  }

  /**
   * The way to sample a model when nothing is said: its configuration's, else its depth's and pyramid's, else plainly
   * scale by scale. Layouts without a masked branch get no masked passes.
   */
  static default(model: DefaultModel): Schedule {
    const { pyramid, layout, depth, sampling } = model
    const name = layout === 'var' ? 'var' : presetOfDepth(depth)
    const schedule = Schedule.forPyramid(pyramid)
      .#with(name && presets[name].sample)
      .#with(sampling)
    return layout === 'combined'
      ? schedule.#committing(sampling?.schedule ?? defaultCommitsOf(pyramid))
      : schedule
  }

  /**
   * Reads what {@link Schedule.toJSON} wrote.
   *
   * @param functions - The caller's own ways of choosing positions, by the names under which they were stored.
   * @throws {HmarError} `SCHEDULE_INVALID`, also where a function is missing.
   */
  static fromJSON(value: unknown, functions: Readonly<Record<string, ScorePositions>> = {}): Schedule {
    const { revisions, guidance, sampling, positions, ...json } = parseData(ScheduleJson, value)
    const data: ScheduleData = {
      ...json,
      revisions: revisions ?? json.pyramid.map(() => []),
      guidance: override(unguided, guidance),
      sampling: override(unfiltered, sampling),
      positions: positions ?? { kind: 'least-confident' },
    }
    const choices = 'kind' in data.positions ? [data.positions] : data.positions
    const named = new Map(
      namesOf(choices).map((name) => {
        const score = Object.hasOwn(functions, name) ? functions[name] : undefined
        if (score !== undefined) return [name, score]
        throw invalid(`it chooses positions by a function ${JSON.stringify(name)}, which is not there`, {
          remedy: 'Give it to `Schedule.fromJSON` by that name.',
        })
      }),
    )
    try {
      return new Schedule(data, named)
    } catch (error) {
      // What a caller hands over is out of range; what a file says makes it no schedule.
      if (HmarError.isInstance(error) && error.code === 'ARGUMENT_OUT_OF_RANGE')
        throw new HmarError('SCHEDULE_INVALID', error.message, { cause: error })
      throw error
    }
  }

  /**
   * Reads a schedule from YAML or JSON: either the form of {@link Schedule.toJSON}, which has a `version`, or a sampling
   * configuration of HMAR's (`depth`, `cfg`, `top_k`, `top_p`, `more_smooth`, `mask`) with our `mask_schedule`.
   *
   * @param model - The model that a configuration of HMAR's is for: what the file leaves out is the model's default.
   * Without it, `depth` has to name a preset.
   * @throws {HmarError} `SCHEDULE_INVALID`.
   */
  static parse(text: string, model?: DefaultModel): Schedule {
    const value = parseText(text)
    if (typeof value === 'object' && value !== null && 'version' in value) return Schedule.fromJSON(value)
    return Schedule.#fromHmarConfig(parseData(HmarConfig, value), model)
  }

  static #fromHmarConfig(config: HmarConfig, model: DefaultModel | undefined): Schedule {
    const { depth, cfg, top_k, top_p, more_smooth, mask, mask_schedule } = config
    if (model !== undefined && depth !== undefined && depth !== model.depth)
      throw invalid('it is for a model of another depth', {
        found: `depth ${depth}`,
        expected: `depth ${model.depth}`,
      })
    if (mask === false && mask_schedule !== undefined)
      throw invalid('mask is false, but there is a mask_schedule', { expected: 'one of the two' })

    const base = model === undefined ? Schedule.#ofDepth(depth) : Schedule.default(model)
    const lists =
      mask_schedule ?? (mask ? (model?.sampling?.schedule ?? defaultCommitsOf(base.pyramid)) : undefined)
    if (mask === true && lists === undefined)
      throw invalid(`there are no default lists for the pyramid ${base.pyramid.join(', ')}`, {
        remedy: 'Give a mask_schedule.',
      })
    return (
      mask === false ? base.#committing(base.pyramid.map((side) => [side * side])) : base.#committing(lists)
    )
      .guidance({ scale: cfg })
      .sampling({ topK: top_k, topP: top_p, smooth: more_smooth })
  }

  static #ofDepth(depth: number | undefined): Schedule {
    const name = depth === undefined ? undefined : presetOfDepth(depth)
    if (name !== undefined) return Schedule.preset(name)
    throw invalid('neither a model nor its depth says what the file leaves out', {
      found: depth === undefined ? 'no depth' : `depth ${depth}`,
      expected: 'a model, or the depth of a released one: 16, 20, 24 or 30',
    })
  }

  /** The side of the token map at each scale. */
  get pyramid(): Pyramid {
    return this.#data.pyramid
  }

  /**
   * Says how a scale is refined: the tokens that each pass commits, the next-scale pass first, or a curve.
   *
   * @param scale - From 1.
   * @param refinement - `[p²]` for no masked pass; else numbers that sum to p², or a curve over so many steps.
   * @throws {HmarRangeError} if there is no such scale; {@link HmarError} `SCHEDULE_INVALID` if the numbers do not
   * sum to p².
   */
  refine(scale: number, refinement: Refinement): Schedule {
    const index = checkInteger('The scale to refine', scale, 1, this.pyramid.length) - 1
    const checked = checkOptions('The refinement', Refinement, refinement)
    return this.#changed({ refinements: this.#data.refinements.with(index, checked) })
  }

  /**
   * Says which tokens of a scale are opened again though they were committed. Other counts stay as they are.
   *
   * @example
   * ```ts
   * schedule.refine(3, [4, 3, 2]).revise(3, [1, 2]) // 1 token again in the first masked pass, 2 in the second
   * schedule.revise(4, [8, 8])                      // no other masked pass: two that revise 8 of 16 tokens
   * schedule.revise(5, { share: 0.1 })              // a tenth of what is committed, before each masked pass
   * ```
   *
   * @param scale - From 1.
   * @param revision - `[]` for none.
   * @throws {HmarRangeError} if there is no such scale; {@link HmarError} `SCHEDULE_INVALID` if more tokens are
   * revised than are committed.
   */
  revise(scale: number, revision: Revision): Schedule {
    const index = checkInteger('The scale to revise', scale, 1, this.pyramid.length) - 1
    const checked = checkOptions('The revision', Revision, revision)
    return this.#changed({ revisions: this.#data.revisions.with(index, checked) })
  }

  /**
   * Says which tokens passes commit where they leave others open.
   *
   * @example
   * ```ts
   * schedule.positions({ kind: 'gumbel', temperature: 3 }).positions({ kind: 'halton' }, 6)
   * ```
   *
   * @param scale - The one scale that it is for, from 1. Defaults to all.
   * @throws {HmarRangeError} if there is no such choice or scale; {@link HmarError} `SCHEDULE_INVALID` for an order
   * that is none of the scale's, or two functions of one name.
   */
  positions(choice: PositionChoice, scale?: number): Schedule {
    const checked = checkOptions('The choice of positions', PositionChoice, choice)
    const { score, ...data } = { score: undefined, ...checked }
    const own: Functions = new Map(score && data.kind === 'custom' ? [[data.name, score]] : [])
    if (scale === undefined) return new Schedule({ ...this.#data, positions: data }, own)

    const index = checkInteger('The scale of the positions', scale, 1, this.pyramid.length) - 1
    const choices = this.pyramid.map((_, index) => choiceAt(this.#data.positions, index + 1))
    const others = namesOf(choices.toSpliced(index, 1)).map((name) => {
      const known = this.#functions.get(name) as ScorePositions
      if (own.has(name) && score !== known)
        throw invalid(`it has two functions by the name ${JSON.stringify(name)}`, {
          expected: 'a name of its own for each',
        })
      return [name, known] as const
    })
    return new Schedule({ ...this.#data, positions: choices.with(index, data) }, new Map([...own, ...others]))
  }

  /**
   * Sets the guidance; what is left out stays as it was.
   *
   * @throws {HmarRangeError} for values out of their range; {@link HmarError} `SCHEDULE_INVALID` for a list of the
   * wrong length.
   */
  guidance(options: GuidanceOptions): Schedule {
    const checked = checkOptions('The guidance', GuidanceOptions, options)
    return this.#changed({ guidance: override(this.#data.guidance, checked) })
  }

  /**
   * Sets how tokens are drawn; what is left out stays as it was.
   *
   * @throws {HmarRangeError} for values out of their range; {@link HmarError} `SCHEDULE_INVALID` for a list of the
   * wrong length.
   */
  sampling(options: SamplingOptions): Schedule {
    const checked = checkOptions('The sampling', SamplingOptions, options)
    return this.#changed({ sampling: override(this.#data.sampling, checked) })
  }

  /**
   * The passes, one by one, as the engine runs them.
   *
   * @param model - The model's configuration: a schedule that does not fit it is refused.
   * @throws {HmarError} `SCHEDULE_INVALID`.
   */
  compile(model?: ScheduledModel): Plan {
    if (model !== undefined) this.#checkFits(model)
    const passes = this.#counts.flatMap((counts, index) =>
      passesOf(this.#data, index + 1, this.#refinements[index] as readonly number[], counts),
    )
    return new Plan(this.pyramid, passes, this.#functions)
  }

  /**
   * The schedule in words: a table with a line a scale.
   *
   * @param model - Adds each scale's share of the arithmetic on this model.
   * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model.
   */
  explain(model?: ModelConfig): string {
    return explain(this.#data, this.compile(model), model && this.cost(model))
  }

  /** What another schedule does differently, scale by scale. Two that give the same plan do not differ. */
  diff(other: Schedule): ScheduleDiff {
    return diffPlans(this.compile(), other.compile())
  }

  /**
   * What the schedule costs on a model, before it runs.
   *
   * @throws {HmarError} `SCHEDULE_INVALID` if the schedule does not fit the model; `HmarRangeError` for bad
   * options.
   */
  cost(model: ModelConfig, options: CostOptions = {}): ScheduleCost {
    return costOf(this.compile(model), model, options)
  }

  /** The schedule as plain data; see {@link Schedule.fromJSON}. */
  toJSON(): ScheduleData {
    return this.#data
  }

  #with({ guidance, topK, topP }: SamplingConfig = {}): Schedule {
    return this.guidance({ scale: guidance }).sampling({ topK, topP })
  }

  #committing(lists: readonly (readonly number[])[] | undefined): Schedule {
    return lists === undefined ? this : this.#changed({ refinements: lists })
  }

  #changed(changes: Partial<Omit<ScheduleData, 'positions'>>): Schedule {
    return new Schedule({ ...this.#data, ...changes }, this.#functions)
  }

  #checkFits({ pyramid, layout }: ScheduledModel): void {
    if (!samePyramid(pyramid, this.pyramid))
      throw invalid('it is for another pyramid than the model', {
        found: `sides ${this.pyramid.join(', ')}`,
        expected: `sides ${pyramid.join(', ')}`,
      })
    const masked = this.commits.findIndex((commits) => commits.length > 1)
    if (layout !== 'combined' && masked >= 0)
      throw invalid(
        `scale ${masked + 1} has masked passes, for which a model of the layout ${layout} has no branch`,
        {
          remedy: 'Leave out the refinement, or use a combined model.',
        },
      )
  }
}

// As many as commit each token of the largest released pyramid by itself, and as many again.
const mostPasses = 2 ** 14

/** Refuses what would take memory out of proportion to its own size, before lists are made. */
function checkPasses(refinements: readonly Refinement[], revisions: readonly Revision[]): void {
  const passes = [...refinements, ...revisions].reduce((sum, one) => sum + passesIn(one), 0)
  if (passes > mostPasses)
    throw invalid('it has too many passes', { found: String(passes), expected: `at most ${mostPasses}` })
}

const passesIn = (one: Refinement | Revision) =>
  'steps' in one ? one.steps : 'length' in one ? one.length : 0

/** The names of the functions that choose positions. */
function namesOf(choices: readonly PositionData[]): string[] {
  return [...new Set(choices.flatMap((choice) => (choice.kind === 'custom' ? [choice.name] : [])))]
}

function parseText(text: string): unknown {
  try {
    // Warnings about a stranger's text are not the process's to print.
    return parseYaml(text, { logLevel: 'error' })
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
    throw new HmarError('SCHEDULE_INVALID', `The schedule is neither YAML nor JSON: ${cause.message}`, {
      cause,
    })
  }
}
