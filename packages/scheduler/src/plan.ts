import type { Pass, PassList, Pyramid } from '@hmar/core'
import { fnv1a64 } from './fnv.js'
import { deepFreeze } from './frozen.js'
import type { PassState, ScorePositions } from './positions/pass-state.js'
import { openAfter, scorePositions } from './positions/score.js'
import { describeOrder } from './positions/words.js'
import { formatTable } from './table.js'

/** A compiled schedule: every pass that the engine will run, in order. Frozen, printable, comparable by its hash. */
export class Plan implements PassList {
  /** The side of the token map at each scale. */
  readonly pyramid: Pyramid
  /** The passes in order. */
  readonly passes: readonly Pass[]
  /** 16 hexadecimal digits, equal for equal pyramids and passes, on every machine. */
  readonly hash: string
  readonly #functions: ReadonlyMap<string, ScorePositions>

  /** @internal Plans come from `Schedule.compile`. */
  constructor(
    pyramid: Pyramid,
    passes: readonly Pass[],
    functions: ReadonlyMap<string, ScorePositions> = new Map(),
  ) {
    this.pyramid = Object.freeze([...pyramid])
    this.passes = deepFreeze([...passes])
    this.hash = fnv1a64(JSON.stringify(this))
    this.#functions = functions
    Object.freeze(this)
  }

  /**
   * The names of the caller's own functions by which passes choose positions. A plan that has any runs in a session, which
   * calls them between passes; the engine alone cannot.
   */
  get functions(): readonly string[] {
    const names = this.passes.map(({ positions }) =>
      positions?.kind === 'custom' ? positions.name : undefined,
    )
    return [...new Set(names.filter((name) => name !== undefined))]
  }

  /** How many tokens of its scale a pass leaves open. */
  openCount(index: number): number {
    const { scale, side } = this.passes[index] as Pass
    return this.passes
      .slice(0, index + 1)
      .filter((pass) => pass.scale === scale)
      .reduce((open, { commits, revises = 0 }) => open + revises - commits, side * side)
  }

  /**
   * Which positions of its scale a pass leaves open, by its order: what the engine does between passes, and the caller's
   * own functions with it. Revision by the next pass comes on top.
   *
   * @returns `[p²]`, 1 where a position is open; all that were where editing left fewer.
   * @throws {HmarError} `SCHEDULE_INVALID` for scores of a caller's function that are not one number a position.
   */
  openAfter(state: PassState): Uint8Array {
    const { positions = { kind: 'least-confident' } } = this.passes[state.index] as Pass
    const scores =
      positions.kind === 'custom'
        ? (this.#functions.get(positions.name) as ScorePositions)(state)
        : scorePositions(positions, state)
    return openAfter(state, this.openCount(state.index), scores)
  }

  /** The plan as plain data. */
  toJSON(): PassList {
    return { pyramid: this.pyramid, passes: this.passes }
  }

  /** A table with a line a pass. */
  describe(): string {
    const orders = this.passes.some(({ positions }) => positions !== undefined)
    const revisions = this.passes.some(({ revises }) => revises !== undefined)
    const header = [
      'pass',
      'scale',
      'side',
      'kind',
      ...(revisions ? ['revises'] : []),
      'commits',
      ...(orders ? ['positions'] : []),
      'guidance',
      'temperature',
      'top-k',
      'top-p',
      'min-p',
    ]
    const rows = this.passes.map((pass, index) => [
      String(index),
      String(pass.scale),
      String(pass.side),
      pass.smooth ? `${pass.kind}, smooth` : pass.kind,
      ...(revisions ? [String(pass.revises ?? 0)] : []),
      `${pass.commits} of ${pass.side * pass.side}`,
      ...(orders ? [this.openCount(index) === 0 ? '–' : describeOrder(pass.positions)] : []),
      String(Number(pass.guidance.toPrecision(4))),
      String(pass.temperature),
      pass.topK === 0 ? 'all' : String(pass.topK),
      pass.topP === 0 ? 'all' : String(pass.topP),
      pass.minP === 0 ? 'all' : String(pass.minP),
    ])
    return `plan ${this.hash}\n${formatTable([header, ...rows])}`
  }

  toString(): string {
    return this.describe()
  }
}
