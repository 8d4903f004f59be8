// The metrics of a worker, which serves nothing else: a port of their own, without a token, because a worker has no
// key to check one with.
import { createServer } from 'node:http'
import { asError } from '../errors.ts'
import { type ListenWhere, listen, stopListening } from '../http/listen.ts'
import { HTTP_HEADERS_DEADLINE_MS } from '../limits.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { METRICS_TYPE } from './routes.ts'

export interface MetricsPortOptions extends ListenWhere {
  metrics: Pick<Metrics, 'prometheus'>
  log: Log
}

export interface MetricsPort {
  url: string
  stop(): Promise<void>
}

export async function serveMetrics({
  metrics,
  log,
  ...where
}: MetricsPortOptions): Promise<MetricsPort> {
  const deadline = HTTP_HEADERS_DEADLINE_MS
  const server = createServer({ requestTimeout: deadline, headersTimeout: deadline })
  server.on('request', async (req, res) => {
    const { method = '', url = '' } = req
    const type = 'text/plain; charset=utf-8'
    if (url.split('?', 1)[0] !== '/metrics') {
      return res.writeHead(404, { 'content-type': type }).end('there is /metrics here\n')
    }
    if (method !== 'GET' && method !== 'HEAD') return res.writeHead(405, { allow: 'GET' }).end()
    try {
      const text = await metrics.prometheus()
      res.writeHead(200, { 'content-type': METRICS_TYPE }).end(method === 'HEAD' ? '' : text)
    } catch (error) {
      log.error({ err: asError(error).message }, 'metrics not served')
      res.writeHead(500, { 'content-type': type }).end('the metrics could not be read\n')
    }
  })
  const url = await listen(server, where, { host: 'METRICS_HOST', port: 'METRICS_PORT' })
  return { url, stop: () => stopListening(server) }
}
