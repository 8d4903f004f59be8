// A git server somewhere else: real git behind real TLS, with a certificate that nobody trusts by itself.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, isIP, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { removeFolder } from './folders.ts'
import { type Certificate, givenCertificate } from './internet.ts'
import { givenRepo, type Repo } from './repo.ts'

export interface GitHost {
  port: number
  /** Its own: who trusts it trusts this host. */
  certificate: Certificate
  /** `https://<name>:<port>/<path>` */
  url(path: string): string
  /** Paths asked for, in order, and whether with credentials. */
  requests: { path: string; authorization: string | undefined }[]
  /** A repository with one commit, served as `/<name>.git`; pushed there by `push()`. */
  repository(name: string, fixture?: string): Promise<HostedRepo>
}

export interface HostedRepo extends Repo {
  publish(): Promise<void>
}

export interface GitHostOptions {
  /** The names it answers for. */
  names?: string[]
  address?: string
  /** `user:password`; without it everybody may read. */
  credentials?: string
  /** Takes a request for itself when it returns true. */
  intercept?: (req: IncomingMessage, res: ServerResponse) => boolean
}

export async function givenGitHost(
  t: TestContext,
  { names = ['git.example.test'], address = '127.0.0.1', ...options }: GitHostOptions = {},
): Promise<GitHost> {
  const root = await mkdtemp(join(tmpdir(), 'hm-githost-'))
  t.after(() => removeFolder(root))
  const certificate = await givenCertificate(t, names[0]!, names.slice(1))
  const { certFile, keyFile } = certificate
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)])
  const requests: GitHost['requests'] = []
  const server = createServer({ cert, key }, (req, res) => {
    requests.push({ path: req.url ?? '', authorization: req.headers.authorization })
    if (options.intercept?.(req, res)) return
    if (options.credentials && !isAuthorized(req, options.credentials)) {
      res.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
      return
    }
    serve(root, req, res)
  })
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, address)
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    port,
    certificate,
    requests,
    url: (path) => `https://${names[0]}:${port}/${path}`,
    async repository(name, fixture) {
      const bare = join(root, `${name}.git`)
      await execa('git', ['init', '--quiet', '--bare', '--initial-branch=main', bare])
      const repo = await givenRepo(t, fixture)
      const publish = async () => {
        await repo.git('push', '--quiet', '--mirror', bare)
      }
      return { ...repo, publish }
    },
  }
}

function isAuthorized({ headers }: IncomingMessage, credentials: string): boolean {
  return headers.authorization === `Basic ${Buffer.from(credentials).toString('base64')}`
}

/** git's own CGI program. */
function serve(root: string, req: IncomingMessage, res: ServerResponse): void {
  const { pathname, search } = new URL(req.url ?? '/', 'https://localhost')
  const header = (name: string) => String(req.headers[name] ?? '')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: header('git-protocol'),
      PATH_INFO: decodeURIComponent(pathname),
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: req.method,
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin.on('error', () => {})
  req.pipe(child.stdin)
  let head = Buffer.alloc(0)
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return
    child.stdout.off('data', onData)
    for (const line of head.subarray(0, end).toString('latin1').split('\r\n')) {
      const [name = '', value = ''] = line.split(/: (.*)/)
      if (name === 'Status') res.statusCode = Number.parseInt(value, 10)
      else res.setHeader(name, value)
    }
    res.write(head.subarray(end + 4))
    child.stdout.pipe(res)
  }
  child.stdout.on('data', onData)
  res.once('close', () => child.kill())
}

/** What the names of a test stand for. */
export function resolverOf(names: Record<string, string[]>) {
  return async (host: string): Promise<string[]> => {
    if (isIP(host)) return [host]
    const found = names[host]
    if (!found)
      throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' })
    return found
  }
}
