// OTLP by the usual variables: what is read, what is refused, and that metrics really arrive at a collector.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { ConfigError, readConfig } from '../../../server/config.ts'
import { createMetrics } from '../../../server/telemetry/metrics.ts'
import { silent } from '../../helpers/database.ts'

test('nothing is sent unless an endpoint is named', () => {
  assert.equal(readConfig({}).otlp.url, undefined)
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' }
  assert.equal(readConfig(endpoint).otlp.url, 'http://collector:4318/v1/metrics')
  for (const off of [{ OTEL_SDK_DISABLED: 'true' }, { OTEL_METRICS_EXPORTER: 'none' }]) {
    assert.equal(readConfig({ ...endpoint, ...off }).otlp.url, undefined)
  }
})

test('the variables for metrics win over the general ones', () => {
  const { otlp } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://all:4318',
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://metrics/in/here',
    OTEL_EXPORTER_OTLP_HEADERS: 'a=1,b=two%20words',
    OTEL_EXPORTER_OTLP_METRICS_HEADERS: 'a=3',
    OTEL_EXPORTER_OTLP_TIMEOUT: '2000',
    OTEL_METRIC_EXPORT_INTERVAL: '500',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test,service.name=ignored',
    OTEL_SERVICE_NAME: 'builds',
  })
  assert.deepEqual(otlp, {
    url: 'https://metrics/in/here',
    headers: { a: '3', b: 'two words' },
    intervalMs: 500,
    timeoutMs: 2000,
    attributes: { 'deployment.environment': 'test', 'service.name': 'builds' },
  })
})

test('what the exporter could not follow is refused at start, without showing credentials', () => {
  const refused = (env: Record<string, string>): string => {
    try {
      readConfig(env)
    } catch (error) {
      assert.ok(error instanceof ConfigError)
      return error.message
    }
    return 'accepted'
  }
  assert.match(
    refused({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }),
    /"grpc" is not valid: .*http\/protobuf/,
  )
  assert.match(refused({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector' }), /must be an http/)
  assert.match(refused({ OTEL_METRIC_EXPORT_INTERVAL: 'soon' }), /milliseconds/)
  const message = refused({ OTEL_EXPORTER_OTLP_HEADERS: 'hunter2' })
  assert.match(message, /key=value/)
  assert.doesNotMatch(message, /hunter2/)
})

test('a collector receives the metrics with the headers given', async (t) => {
  const collector = createServer().listen(0, '127.0.0.1')
  await once(collector, 'listening')
  t.after(() => collector.close())
  const received: { req: IncomingMessage; body: Buffer }[] = []
  collector.on('request', async (req: IncomingMessage, res) => {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk)
    received.push({ req, body: Buffer.concat(chunks) })
    res.end()
  })
  const { port } = collector.address() as AddressInfo
  const { otlp } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20abc',
    OTEL_SERVICE_NAME: 'builds-of-the-test',
  })
  const metrics = createMetrics({ log: silent, otlp })
  metrics.build.booted('qemu', 1_000)
  await metrics.stop()
  const [first] = received
  assert.equal(first?.req.url, '/v1/metrics')
  assert.equal(first.req.headers.authorization, 'Bearer abc')
  assert.equal(first.req.headers['content-type'], 'application/x-protobuf')
  const body = first.body.toString('latin1')
  for (const word of ['hypeman_vm_boot_seconds', 'builds-of-the-test'])
    assert.ok(body.includes(word))
})

test('a collector that is away keeps nobody from stopping', async () => {
  const { otlp } = readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })
  const metrics = createMetrics({ log: silent, otlp })
  await metrics.stop()
})
