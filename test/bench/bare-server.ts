// The other side of the HTTP benches, in a process of its own: node:http and nothing else. `POST /json` sets
// what `GET /json` answers; `POST /append` sends its body to all readers of `GET /events`.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const FILE = fileURLToPath(import.meta.url)

export interface BareServer {
  url: string
  stop(): Promise<void>
}

export async function startBareServer(): Promise<BareServer> {
  const child: ChildProcess = fork(FILE, ['serve'], { execArgv: ['--import', 'tsx'] })
  const [url] = (await once(child, 'message')) as [string]
  return {
    url,
    async stop() {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

function serve(): void {
  const readers = new Set<ServerResponse>()
  let json = '{}'
  const server = createServer(async (req, res) => {
    if (req.url === '/json' && req.method === 'GET') {
      res.setHeader('content-type', 'application/json')
      res.end(json)
    } else if (req.url === '/json') {
      json = await text(req)
      res.end()
    } else if (req.url === '/append') {
      const line = await text(req)
      for (const reader of readers) reader.write(`data: ${line}\n\n`)
      res.end()
    } else {
      readers.add(res)
      res.once('close', () => readers.delete(res))
      res.setHeader('content-type', 'text/event-stream')
      res.flushHeaders()
    }
  })
  server.listen(0, '127.0.0.1', () => {
    process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  })
}

if (process.argv[2] === 'serve' && process.argv[1] === FILE) serve()
