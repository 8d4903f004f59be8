// The port of a worker's metrics.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics } from '../../../server/telemetry/metrics.ts'
import { serveMetrics } from '../../../server/telemetry/metrics-port.ts'
import { silent } from '../../helpers/database.ts'

test('a worker’s metrics are served on a port of their own, and nothing else is', async (t) => {
  const metrics = createMetrics({ log: silent })
  t.after(() => metrics.stop())
  metrics.watchDisk(async () => ({ freeBytes: 5, neededBytes: 7, isLow: true }))
  const where = { host: '127.0.0.1', port: 0 }
  const { url, stop } = await serveMetrics({ ...where, metrics, log: silent })
  t.after(stop)
  const got = await fetch(`${url}/metrics`)
  assert.equal(got.status, 200)
  assert.match(got.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  const text = await got.text()
  assert.match(text, /^hypeman_disk_low 1/m)
  assert.match(text, /^process_/m)
  const head = await fetch(`${url}/metrics?x=1`, { method: 'HEAD' })
  assert.deepEqual([head.status, await head.text()], [200, ''])
  assert.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 405)
  assert.equal((await fetch(`${url}/health`)).status, 404)

  const { port } = new URL(url)
  const taken = serveMetrics({ host: '127.0.0.1', port: Number(port), metrics, log: silent })
  await assert.rejects(taken, /METRICS_PORT=\d+ on METRICS_HOST=127\.0\.0\.1 is taken/)
  await stop()
  await assert.rejects(fetch(`${url}/metrics`), /fetch failed/)
})

test('metrics that can’t be read are an error without its reasons', async (t) => {
  const metrics = { prometheus: () => Promise.reject(new Error('secret')) }
  const where = { host: '127.0.0.1', port: 0 }
  const { url, stop } = await serveMetrics({ ...where, metrics, log: silent })
  t.after(stop)
  const reply = await fetch(`${url}/metrics`)
  assert.equal(reply.status, 500)
  assert.doesNotMatch(await reply.text(), /secret/)
})
