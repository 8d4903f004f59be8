// A whole server as a process of its own, as `npm start` runs it: own data folder, free port, real parts.
// Whoever launches it removes it.
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSecret } from '../../server/auth/secret.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import type { Build } from '../../server/builds/schema.ts'
import { embeddedUrl } from '../../server/db/embedded.ts'
import { createDb } from '../../server/db/pool.ts'
import { pathsFor } from '../../server/paths.ts'
import { removeFolder } from './folders.ts'
import { type Launched, launch } from './launched.ts'

export interface ServerProcess {
  url: string
  dataDir: string
  pid: number
  /** What it has logged on stderr so far. */
  logged(): string
  token(
    sub: string,
    more?: { tenant?: string; admin?: boolean; permissions?: string[] },
  ): Promise<string>
  api(path: string, token: string, init?: RequestInit): Promise<Response>
  build(id: string, token: string): Promise<Build>
  /** Polls until the build has ended. */
  ended(id: string, token: string): Promise<Build>
  /** One statement against its database. */
  sql<Row>(statement: string): Promise<Row[]>
  kill(signal: NodeJS.Signals): Promise<void>
  /** The exit code of the process that runs; null when a signal ends it. */
  exit(): Promise<number | null>
  /** The same data folder again, after it was killed. */
  restart(): Promise<void>
  /** Ends it and removes its folders. */
  remove(): Promise<void>
}

export async function launchServer(env: Record<string, string>): Promise<ServerProcess> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hm-e2e-'))
  await chmod(dataDir, 0o711)
  let running = await start(dataDir, env)
  const paths = pathsFor(dataDir)

  const server: ServerProcess = {
    get url() {
      return running.ready
    },
    dataDir,
    get pid() {
      return running.pid
    },
    logged: () => running.logged(),
    async token(sub, more = {}) {
      const secret = await readSecret({ configured: undefined, file: paths.jwtSecret })
      return createTokens({ secret }).mintApi({ sub, ...more })
    },
    api(path, token, init = {}) {
      return fetch(`${running.ready}${path}`, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${token}` },
      })
    },
    async build(id, token) {
      return (await (await server.api(`/builds/${id}`, token)).json()) as Build
    },
    async ended(id, token) {
      for (;;) {
        const build = await server.build(id, token)
        if (build.completed_at) return build
        await new Promise((resolve) => setTimeout(resolve, 250))
      }
    },
    async sql<Row>(statement: string) {
      const db = createDb(embeddedUrl(paths.databaseSocket))
      try {
        return (await db.raw(statement)).rows as Row[]
      } finally {
        await db.destroy()
      }
    },
    kill: (signal) => end(running, signal),
    exit: () => running.ended.then(({ code }) => code),
    async restart() {
      running = await start(dataDir, env)
    },
    async remove() {
      await end(running, 'SIGTERM')
      await removeFolder(dataDir)
      await removeFolder(paths.run)
    },
  }
  return server
}

const start = (dataDir: string, env: Record<string, string>) =>
  launch('server', { DATA_DIR: dataDir, PORT: '0', ...env })

async function end({ child, ended }: Launched, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal)
  await ended
}
