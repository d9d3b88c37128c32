/** Bytes of a GPU's memory that everything loaded there in one precision takes together. */
export interface DeviceMemory {
  /** Now: weights, buffers of the largest batch so far, recorded passes. */
  readonly currentBytes: number
  /** The most since it was loaded, or since `restartPeakMemory()`. */
  readonly peakBytes: number
}

/** What one operation of the engine took of a generation, all its calls at one shape together. */
export interface OperationTime {
  /** The operation and its dimensions, e.g. `linear 338×1024→4096 with GELU`. */
  readonly name: string
  readonly calls: number
  /** Time on the device. */
  readonly microseconds: number
}
