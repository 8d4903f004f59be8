// The one set of instruments of a process, and its two readers: Prometheus text on request, and OTLP when the
// usual OTEL_* variables name a collector. No global provider is registered: dependencies are arguments.
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  MeterProvider,
  type MetricReader,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import type { Db } from '../db/pool.ts'
import { asError } from '../errors.ts'
import { METRICS_COLLECT_DEADLINE_MS } from '../limits.ts'
import { createBuildMetrics } from './build-metrics.ts'
import { type LookAtDisk, observeDisk } from './disk-gauges.ts'
import { createGarbageMetrics } from './garbage-metrics.ts'
import { createHttpMetrics } from './http-metrics.ts'
import type { Log } from './log.ts'
import { createMirrorMetrics } from './mirror-metrics.ts'
import type { OtlpSettings } from './otlp-settings.ts'
import { observeProcess } from './process-metrics.ts'
import { observeQueue } from './queue-gauges.ts'
import { createRetentionMetrics } from './retention-metrics.ts'

export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics({ log, otlp }: { log: Log; otlp?: OtlpSettings | undefined }) {
  const pull = new PrometheusExporter({ preventServerStart: true })
  const readers: MetricReader[] = [pull]
  if (otlp?.url !== undefined) readers.push(pushTo(otlp, otlp.url))
  const resource = resourceFromAttributes({ 'service.name': 'hypeman', ...otlp?.attributes })
  const provider = new MeterProvider({ readers, resource })
  const meter = provider.getMeter('hypeman')
  const stopProcess = observeProcess(meter)
  const serializer = new PrometheusSerializer('', false, undefined, true, true)

  return {
    build: createBuildMetrics(meter),
    garbage: createGarbageMetrics(meter),
    httpServed: createHttpMetrics(meter),
    mirrored: createMirrorMetrics(meter),
    retention: createRetentionMetrics(meter),

    /** Adds the gauges of the queue; once the database is there. */
    watchQueue: (db: Db) => observeQueue(meter, db),

    /** Adds the gauges of the server's disk. */
    watchDisk: (look: LookAtDisk) => observeDisk(meter, look),

    /** Prometheus text. What can't be read now (no database, no gauges) is absent, never zero. */
    async prometheus(): Promise<string> {
      const { resourceMetrics, errors } = await pull.collect({
        timeoutMillis: METRICS_COLLECT_DEADLINE_MS,
      })
      for (const error of errors) log.warn({ err: asError(error).message }, 'metrics are missing')
      return serializer.serialize(resourceMetrics)
    },

    /** Sends what is left, as far as the collector takes it. */
    async stop(): Promise<void> {
      stopProcess()
      await provider
        .shutdown({ timeoutMillis: METRICS_COLLECT_DEADLINE_MS })
        .catch((error) => log.warn({ err: asError(error).message }, 'last metrics not sent'))
    },
  }
}

function pushTo({ headers, intervalMs, timeoutMs }: OtlpSettings, url: string): MetricReader {
  return new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter({ url, headers, timeoutMillis: timeoutMs }),
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: Math.min(timeoutMs, intervalMs),
  })
}
