// OTLP by the variables of the OpenTelemetry specification. Read and checked with the rest of the
// configuration and handed to the exporter as arguments; only what merely tunes it (_CERTIFICATE, _CLIENT_*,
// _COMPRESSION, _TEMPORALITY_PREFERENCE) is left for the SDK to read itself.
import { z } from 'zod'

const url = z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }).optional()
const milliseconds = (error: string) =>
  z.coerce.number({ error }).int({ error }).min(100, { error }).max(3_600_000, { error })
const pairs = z
  .string()
  .transform((text, context) => {
    const found = parsePairs(text)
    if (found) return found
    context.addIssue({ code: 'custom', message: 'must be key=value pairs, comma-separated' })
    return z.NEVER
  })
  .optional()
const protocol = z
  .literal('http/protobuf', { error: 'must be http/protobuf, the only protocol spoken here' })
  .optional()

/** Part of the environment that config.ts parses. */
export const otelVariables = {
  OTEL_SDK_DISABLED: z.enum(['true', 'false'], { error: 'must be true or false' }).optional(),
  OTEL_METRICS_EXPORTER: z
    .enum(['otlp', 'none', 'prometheus'], { error: 'must be otlp, prometheus or none' })
    .optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_HEADERS: pairs,
  OTEL_EXPORTER_OTLP_METRICS_HEADERS: pairs,
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_TIMEOUT: milliseconds('must be 100 to 3600000 milliseconds').optional(),
  OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: milliseconds(
    'must be 100 to 3600000 milliseconds',
  ).optional(),
  OTEL_METRIC_EXPORT_INTERVAL: milliseconds('must be 100 to 3600000 milliseconds').optional(),
  OTEL_SERVICE_NAME: z.string().max(255).optional(),
  OTEL_RESOURCE_ATTRIBUTES: pairs,
}

/** Their values are credentials. */
export const OTEL_SECRET_NAMES = [
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_METRICS_HEADERS',
]

const OtelEnvironment = z.object(otelVariables)

export interface OtlpSettings {
  /** Where metrics are sent; undefined: nowhere. */
  url: string | undefined
  headers: Record<string, string>
  intervalMs: number
  timeoutMs: number
  /** Of the resource, for every reader. */
  attributes: Record<string, string>
}

export function otlpSettings(e: z.output<typeof OtelEnvironment>): OtlpSettings {
  const isOff = e.OTEL_SDK_DISABLED === 'true' || (e.OTEL_METRICS_EXPORTER ?? 'otlp') !== 'otlp'
  const base = e.OTEL_EXPORTER_OTLP_ENDPOINT?.replace(/\/+$/, '')
  const url = e.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT ?? (base && `${base}/v1/metrics`)
  return {
    url: isOff ? undefined : url,
    headers: { ...e.OTEL_EXPORTER_OTLP_HEADERS, ...e.OTEL_EXPORTER_OTLP_METRICS_HEADERS },
    intervalMs: e.OTEL_METRIC_EXPORT_INTERVAL ?? 60_000,
    timeoutMs: e.OTEL_EXPORTER_OTLP_METRICS_TIMEOUT ?? e.OTEL_EXPORTER_OTLP_TIMEOUT ?? 10_000,
    attributes: {
      ...e.OTEL_RESOURCE_ATTRIBUTES,
      ...(e.OTEL_SERVICE_NAME ? { 'service.name': e.OTEL_SERVICE_NAME } : {}),
    },
  }
}

/** `a=1,b=2`, percent-encoded, as the specification has it. */
function parsePairs(text: string): Record<string, string> | undefined {
  const found: Record<string, string> = {}
  for (const pair of text.split(',')) {
    if (pair.trim() === '') continue
    const [, key, value] = /^\s*([^\s=;]+)\s*=(.*)$/.exec(pair) ?? []
    if (key === undefined || value === undefined) return undefined
    try {
      found[decodeURIComponent(key)] = decodeURIComponent(value.trim())
    } catch {
      return undefined // a stray %
    }
  }
  return found
}
