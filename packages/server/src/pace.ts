/** How fast work has been done of late, by which durations are estimated. */
export class Pace {
  #flopsPerMs: number | undefined

  /** Learns from a piece of work, recent ones weighing most. */
  learn(flops: number, milliseconds: number): void {
    const measured = flops / Math.max(milliseconds, 0.001)
    this.#flopsPerMs = this.#flopsPerMs === undefined ? measured : 0.7 * this.#flopsPerMs + 0.3 * measured
  }

  /** How long so much will take; undefined before anything was done. */
  millisecondsFor(flops: number): number | undefined {
    return this.#flopsPerMs === undefined ? undefined : flops / this.#flopsPerMs
  }
}
