// A worker in a process of its own, beside a server without one; ended and removed with the test.
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { readSecret } from '../../server/auth/secret.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import { embeddedUrl } from '../../server/db/embedded.ts'
import { pathsFor } from '../../server/paths.ts'
import { removeFolder } from './folders.ts'
import { type Launched, launch } from './launched.ts'
import { fastestRunner } from './sandboxes.ts'
import type { TestServer } from './server.ts'

export interface WorkerProcess {
  name: string
  dataDir: string
  pid: number
  logged(): string
  kill(signal: NodeJS.Signals): void
  /** Its exit code, null when a signal ended it. */
  ended: Promise<number | null>
}

export async function workerToken(server: TestServer): Promise<string> {
  const file = pathsFor(server.dataDir).jwtSecret
  const secret = await readSecret({ configured: undefined, file })
  return createTokens({ secret }).mintWorker({ sub: 'test', ttlSeconds: 3600 })
}

/** Rejects with what it said when it ends before it is ready. */
export async function givenWorkerProcess(
  t: TestContext,
  server: TestServer,
  env: Record<string, string> = {},
): Promise<WorkerProcess> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hm-worker-'))
  await chmod(dataDir, 0o711)
  const paths = pathsFor(server.dataDir)
  let worker: Launched | undefined
  t.after(async () => {
    if (worker) await end(worker)
    await removeFolder(dataDir)
    await removeFolder(pathsFor(dataDir).run)
  })
  worker = await launch('worker', {
    DATA_DIR: dataDir,
    DATABASE_URL: embeddedUrl(paths.databaseSocket),
    OBJECTS: paths.objects,
    SERVER_URL: server.url,
    WORKER_TOKEN: await workerToken(server),
    RUNNER: await fastestRunner(),
    ...env,
  })
  const { child, pid, ready: name, logged } = worker
  const ended = worker.ended.then(({ code }) => code)
  return { name, dataDir, pid, logged, kill: (signal) => void child.kill(signal), ended }
}

async function end({ child, ended }: Launched): Promise<void> {
  child.kill('SIGCONT')
  child.kill('SIGINT')
  const forced = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await ended
  clearTimeout(forced)
}
