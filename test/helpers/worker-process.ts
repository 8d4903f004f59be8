// A worker in a process of its own, beside a server without one; ended and removed with the test.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readSecret } from '../../server/auth/secret.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import { embeddedUrl } from '../../server/db/embedded.ts'
import { pathsFor } from '../../server/paths.ts'
import { fastestRunner } from './sandboxes.ts'
import type { TestServer } from './server.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const READY_DEADLINE_MS = 120_000

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
  const child = spawn(process.execPath, ['--import', 'tsx', 'server/cli.ts', 'worker'], {
    cwd: ROOT,
    env: {
      ...process.env,
      DATA_DIR: dataDir,
      DATABASE_URL: embeddedUrl(paths.databaseSocket),
      OBJECTS: paths.objects,
      SERVER_URL: server.url,
      WORKER_TOKEN: await workerToken(server),
      RUNNER: await fastestRunner(),
      LOG_LEVEL: 'info',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  t.after(async () => {
    await end(child, ended)
    await rm(dataDir, { recursive: true, force: true })
    await rm(pathsFor(dataDir).run, { recursive: true, force: true })
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const lines = createInterface({ input: child.stdout })
  const ready = once(lines, 'line', { signal: AbortSignal.timeout(READY_DEADLINE_MS) })
  const line = await Promise.race([
    ready.then(([text]) => String(text)),
    ended.then((code) => Promise.reject(new Error(`the worker ended with ${code}: ${log}`))),
  ])
  const name = /^hypeman worker ready (\S+)$/.exec(line)?.[1]
  if (!name) throw new Error(`not the ready line: ${line}`)
  const kill = (signal: NodeJS.Signals) => void child.kill(signal)
  return { name, dataDir, pid: child.pid ?? 0, logged: () => log, kill, ended }
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGCONT')
  child.kill('SIGINT')
  const forced = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await ended
  clearTimeout(forced)
}

/** Asks until it is so. */
export async function until(is: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await is())) await sleep(100)
}
