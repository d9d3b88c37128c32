import type { Pass, PassList, Pyramid } from '@hmar/core'
import { fnv1a64 } from './fnv.js'
import { formatTable } from './table.js'

/** A compiled schedule: every pass that the engine will run, in order. Frozen, printable, comparable by its hash. */
export class Plan implements PassList {
  /** The side of the token map at each scale. */
  readonly pyramid: Pyramid
  /** The passes in order. */
  readonly passes: readonly Pass[]
  /** 16 hexadecimal digits, equal for equal pyramids and passes, on every machine. */
  readonly hash: string

  /** @internal Plans come from `Schedule.compile`. */
  constructor(pyramid: Pyramid, passes: readonly Pass[]) {
    this.pyramid = Object.freeze([...pyramid])
    this.passes = Object.freeze(passes.map((pass) => Object.freeze({ ...pass })))
    this.hash = fnv1a64(JSON.stringify(this))
    Object.freeze(this)
  }

  /** The plan as plain data. */
  toJSON(): PassList {
    return { pyramid: this.pyramid, passes: this.passes }
  }

  /** A table with a line a pass. */
  describe(): string {
    const header = [
      'pass',
      'scale',
      'side',
      'kind',
      'commits',
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
      `${pass.commits} of ${pass.side * pass.side}`,
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
