// The other side of the push benches, in a process of its own: git http-backend behind node:http, as CGI has it,
// and nothing else.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { CLEAN } from '../helpers/repo.ts'

const FILE = fileURLToPath(import.meta.url)

export interface HttpBackend {
  pid: number
  /** Makes an empty repository; returns its address. */
  repository(name: string): Promise<string>
  stop(): Promise<void>
}

export async function startHttpBackend(): Promise<HttpBackend> {
  const root = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  const child: ChildProcess = fork(FILE, ['serve', root], { execArgv: ['--import', 'tsx'] })
  const [url] = (await once(child, 'message')) as [string]
  return {
    pid: child.pid ?? 0,
    async repository(name) {
      await execa('git', ['init', '--quiet', '--bare', join(root, name)], { env: CLEAN })
      return `${url}/${name}`
    },
    async stop() {
      child.kill('SIGTERM')
      await once(child, 'exit')
      await rm(root, { recursive: true, force: true })
    },
  }
}

function serve(root: string): void {
  const server = createServer((req, res) => {
    cgi(root, req, res).catch(() => res.destroy())
  })
  server.listen(0, '127.0.0.1', () => {
    process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  })
}

async function cgi(root: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = new URL(req.url ?? '/', 'http://localhost')
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      ...CLEAN,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REMOTE_USER: 'bench',
      REMOTE_ADDR: '127.0.0.1',
      REQUEST_METHOD: req.method,
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: req.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: req.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(req.headers['git-protocol'] ?? ''),
    },
  })
  const sent = pipeline(req, child.stdin)
  let head = Buffer.alloc(0)
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    if (res.headersSent) {
      res.write(chunk)
      continue
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) continue
    const headers = head.toString('latin1', 0, end).split('\r\n')
    for (const line of headers) {
      const [name = '', value = ''] = line.split(': ', 2)
      if (name === 'Status') res.statusCode = Number.parseInt(value, 10)
      else res.setHeader(name, value)
    }
    res.write(head.subarray(end + 4))
  }
  res.end()
  await sent
}

if (process.argv[2] === 'serve' && process.argv[1] === FILE) serve(process.argv[3] ?? '')
