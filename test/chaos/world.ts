// What is to be broken: a server without worker, workers, a PostgreSQL and a registry, each a process of its own,
// in folders of the run's own.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTokens } from '../../server/auth/tokens.ts'
import { createDb, type Db } from '../../server/db/pool.ts'
import { pathsFor } from '../../server/paths.ts'
import { removeFolder } from '../helpers/folders.ts'
import { launch } from '../helpers/launched.ts'
import type { RunnerName } from '../helpers/pods.ts'
import { type Kept, keep } from './kept.ts'
import { PACES, type Pace } from './pace.ts'
import { type ChaosPostgres, startPostgres } from './postgres.ts'

export const LIMITS = { global: 3, perTenant: 2 }

export interface World {
  /** Of the run; has everything. */
  root: string
  url: string
  pace: Pace
  server: Kept
  workers: Kept[]
  dataDirs: { server: string; workers: string[] }
  postgres: ChaosPostgres
  db: Db
  token(sub: string, more?: { admin?: boolean }): Promise<string>
  api(path: string, token: string, init?: RequestInit): Promise<Response>
  /** Server and workers end as they are asked to; the database stays for who wants to look into it. */
  stop(): Promise<void>
  /** The database too; the folders remain. */
  close(): Promise<void>
  /** What all processes have logged, into a folder of that name. */
  saveLogs(folder: string): Promise<void>
  removeFolders(): Promise<void>
}

export interface WorldOptions {
  workers: number
  runner: RunnerName
  onSurprise(what: string): void
}

export async function startWorld(options: WorldOptions): Promise<World> {
  const pace = PACES[options.runner]
  const root = await mkdtemp(join(tmpdir(), 'hm-chaos-'))
  const folder = async (name: string) => {
    await mkdir(join(root, name), { recursive: true })
    for (const dir of [root, join(root, name)]) await chmod(dir, 0o711)
    return join(root, name)
  }
  const serverDir = await folder('server')
  const names = Array.from({ length: options.workers }, (_, i) => `worker-${i + 1}`)
  const workerDirs = await Promise.all(names.map(folder))
  const postgres = await startPostgres(await folder('pg'))
  const secret = randomBytes(32).toString('hex')
  const tokens = createTokens({ secret })
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const common = { DATABASE_URL: postgres.url, RUNNER: options.runner, DRAIN_TIMEOUT: '2' }
  const kept = { isExcused: postgres.wasAwaySince, onSurprise: options.onSurprise }

  const server = keep({
    ...kept,
    name: 'server',
    launch: () =>
      launch('server', {
        ...common,
        DATA_DIR: serverDir,
        PORT: String(port),
        ROLE: 'server',
        JWT_SECRET: secret,
        MAX_CONCURRENT_SOURCE_BUILDS: String(LIMITS.global),
        MAX_CONCURRENT_BUILDS_PER_TENANT: String(LIMITS.perTenant),
      }),
  })
  await server.up()
  const token = await tokens.mintWorker({ sub: 'chaos', ttlSeconds: 24 * 60 * 60 })
  const workers = names.map((name, i) =>
    keep({
      ...kept,
      name,
      launch: () =>
        launch('worker', {
          ...common,
          DATA_DIR: workerDirs[i]!,
          OBJECTS: pathsFor(serverDir).objects,
          SERVER_URL: url,
          WORKER_TOKEN: token,
          WORKER_SLOTS: String(pace.perWorker),
        }),
    }),
  )
  await Promise.all(workers.map((worker) => worker.up()))
  const all = [server, ...workers]
  const db = createDb(postgres.url)

  return {
    root,
    url,
    pace,
    server,
    workers,
    dataDirs: { server: serverDir, workers: workerDirs },
    postgres,
    db,
    token: (sub, more = {}) => tokens.mintApi({ sub, ...more }),
    api: (path, bearer, init = {}) =>
      fetch(`${url}${path}`, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${bearer}` },
      }),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()))
      await server.stop()
    },
    async close() {
      await db.destroy()
      await postgres.stop()
    },
    async saveLogs(name) {
      await mkdir(name, { recursive: true })
      for (const { name: file, logged } of all) await writeFile(join(name, `${file}.log`), logged())
    },
    async removeFolders() {
      for (const dir of [serverDir, ...workerDirs]) {
        await removeFolder(pathsFor(dir).run)
      }
      await removeFolder(root)
    },
  }
}

/** Below those that outgoing connections are given, so that a server that is away finds it again. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + (randomBytes(2).readUInt16BE() % 12_000)
    const probe = createServer()
    const listening = once(probe, 'listening')
    probe.listen(port, '127.0.0.1')
    const isFree = await listening.then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    probe.close()
    await once(probe, 'close')
    return port
  }
}
