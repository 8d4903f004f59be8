// Requests per second and latencies of the reads people poll, beside a bare node:http server that answers the
// same bytes from memory.
import autocannon from 'autocannon'
import { givenBuild } from '../helpers/builds.ts'
import { startBareServer } from './bare-server.ts'
import { startBusyServer } from './busy-server.ts'
import { table, times } from './figures.ts'

const CONNECTIONS = 10
const SECONDS = 5
const BUILDS = 200

export async function run(): Promise<void> {
  const server = await startBusyServer()
  const bare = await startBareServer()
  try {
    const { id } = await server.running()
    for (let i = 0; i < BUILDS; i += 1) await givenBuild(server.db, { tenant: 'bench' })
    const paths = ['/health', `/builds/${id}`, '/builds?limit=50']
    const out = [['GET', 'requests', 'p50', 'p99', 'bare', 'bare p50', 'bare p99', 'ratio']]
    for (const path of paths) {
      const reply = await server.process.api(path, server.token)
      await fetch(`${bare.url}/json`, { method: 'POST', body: await reply.text() })
      const ours = await load(`${server.process.url}${path}`, server.token)
      const plain = await load(`${bare.url}/json`, '')
      const name = path.replace(id, '{id}')
      out.push([name, ...shown(ours), ...shown(plain), times(ours.rate, plain.rate)])
    }
    console.log(`${CONNECTIONS} connections, ${SECONDS} s each, ${BUILDS} builds queued`)
    console.log(table(out))
  } finally {
    await bare.stop()
    await server.stop()
  }
}

interface Load {
  rate: number
  p50: number
  p99: number
}

async function load(url: string, token: string): Promise<Load> {
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: SECONDS,
    headers: { authorization: `Bearer ${token}` },
  })
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${url}: ${result.non2xx} refused, ${result.errors} failed`)
  }
  return { rate: result.requests.average, p50: result.latency.p50, p99: result.latency.p99 }
}

function shown({ rate, p50, p99 }: Load): string[] {
  return [`${Math.round(rate)}/s`, `${p50} ms`, `${p99} ms`]
}
