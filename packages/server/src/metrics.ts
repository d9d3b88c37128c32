import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const seconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

/** What is measured, in Prometheus' form. */
export class Metrics {
  readonly registry = new Registry()
  readonly requests = this.#counter('hmar_requests_total', 'Requests for images, by how they ended', [
    'model',
    'outcome',
  ])
  readonly refused = this.#counter('hmar_refused_total', 'Requests that were refused, by code', ['code'])
  readonly images = this.#counter('hmar_images_total', 'Images made', ['model'])
  readonly waiting = this.#gauge('hmar_waiting_requests', 'Requests that wait', ['model'])
  readonly running = this.#gauge('hmar_running_images', 'Images being made', ['model'])
  readonly memory = this.#gauge('hmar_memory_bytes', 'Memory that a model takes of its device', [
    'model',
    'part',
  ])
  readonly batch = this.#histogram('hmar_batch_images', 'Images made together', [1, 2, 4, 8, 16, 32, 64, 128])
  readonly wait = this.#histogram('hmar_wait_seconds', 'From a request to its beginning', seconds)
  readonly total = this.#histogram('hmar_request_seconds', 'From a request to its last image', seconds)

  constructor() {
    collectDefaultMetrics({ register: this.registry })
  }

  #counter(name: string, help: string, labelNames: string[]) {
    return new Counter({ name, help, labelNames, registers: [this.registry] })
  }

  #gauge(name: string, help: string, labelNames: string[]) {
    return new Gauge({ name, help, labelNames, registers: [this.registry] })
  }

  #histogram(name: string, help: string, buckets: number[]) {
    return new Histogram({ name, help, labelNames: ['model'], buckets, registers: [this.registry] })
  }
}
