// This process's memory, processor time and event loop, under the names every Prometheus dashboard knows.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Meter } from '@opentelemetry/api'
import { EVENT_LOOP_WINDOW_MS } from '../limits.ts'

const DELAY_RESOLUTION_MS = 20
const QUANTILES = { '0.5': 50, '0.99': 99 }
const NANO = 1e-9

/** Returns what stops the measuring. */
export function observeProcess(meter: Meter): () => void {
  const bytes = (name: string, description: string) =>
    meter.createObservableGauge(name, { description, unit: 'By' })
  const resident = bytes('process_resident_memory_bytes', 'Resident memory')
  const heapUsed = bytes('nodejs_heap_size_used_bytes', 'Heap in use')
  const heapTotal = bytes('nodejs_heap_size_total_bytes', 'Heap, used and reserved')
  meter.addBatchObservableCallback(
    (result) => {
      const memory = process.memoryUsage()
      result.observe(resident, memory.rss)
      result.observe(heapUsed, memory.heapUsed)
      result.observe(heapTotal, memory.heapTotal)
    },
    [resident, heapUsed, heapTotal],
  )
  meter
    .createObservableCounter('process_cpu_seconds_total', {
      description: 'Processor time, user and system',
      unit: 's',
    })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage()
      result.observe((user + system) / 1e6)
    })
  const startedAt = Date.now() / 1000 - process.uptime()
  meter
    .createObservableGauge('process_start_time_seconds', { description: 'Unix time', unit: 's' })
    .addCallback((result) => result.observe(startedAt))
  return observeEventLoop(meter)
}

function observeEventLoop(meter: Meter): () => void {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
  delay.enable()
  // The time between two looks is measured, of which the resolution is meant to pass.
  const lagSeconds = (nanoseconds: number) =>
    Math.max(0, nanoseconds * NANO - DELAY_RESOLUTION_MS / 1000)
  // A window of its own, so that two readers do not empty it for each other.
  const read = () =>
    Object.entries(QUANTILES).map(
      ([quantile, percent]) => [quantile, lagSeconds(delay.percentile(percent))] as const,
    )
  let shown: ReturnType<typeof read> = []
  const timer = setInterval(() => {
    shown = read()
    delay.reset()
  }, EVENT_LOOP_WINDOW_MS)
  timer.unref()
  meter
    .createObservableGauge('nodejs_eventloop_lag_seconds', {
      description: `Delay of the event loop over the last ${EVENT_LOOP_WINDOW_MS / 1000} s`,
      unit: 's',
    })
    .addCallback((result) => {
      for (const [quantile, value] of shown.length > 0 ? shown : read()) {
        result.observe(value, { quantile })
      }
    })
  return () => {
    clearInterval(timer)
    delay.disable()
  }
}
