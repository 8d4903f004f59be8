// A PostgreSQL of the run's own, durable as in production, that dies and comes back apart from the servers.
import { chown, mkdir, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { embeddedUrl, end, initialise, launch } from '../../server/db/postgres-process.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { createLog } from '../../server/telemetry/log.ts'
import { testParts } from '../helpers/parts.ts'
import { signalAll } from './signals.ts'

export interface ChaosPostgres {
  url: string
  /** SIGKILL, or SIGINT for a fast shutdown; resolves when all of its processes are gone. */
  down(signal: 'SIGKILL' | 'SIGINT'): Promise<void>
  up(): Promise<void>
  /** Its processes stand still for so long. */
  freeze(forMs: number): Promise<void>
  isUp(): boolean
  /** Whether it was away, or just came back, at any time since then. */
  wasAwaySince(atMs: number): boolean
  stop(): Promise<void>
}

/** After its return a process may still meet a refusal that it has been given before. */
const ECHO_MS = 3_000

/** In an empty folder that other users can walk into. Nobody but this starts it again. */
export async function startPostgres(root: string): Promise<ChaosPostgres> {
  const { postgresBin: binDir, setpriv } = await testParts()
  const { db: user } = await ensureUsers()
  const log = createLog('silent')
  const [dataDir, socketDir] = [join(root, 'data'), join(root, 's')]
  for (const dir of [dataDir, socketDir]) {
    await mkdir(dir, { mode: 0o700 })
    if (user) await chown(dir, user.uid, user.gid)
  }
  const options = { binDir, setpriv, dataDir, socketDir, user, log }
  await initialise(options)
  const start = () => launch(options, new AbortController().signal)
  let running = await start()
  let isUp = true
  let lastUpMs = 0
  const isBack = () => {
    lastUpMs = Date.now()
    isUp = true
  }

  return {
    url: embeddedUrl(socketDir),
    async down(signal) {
      isUp = false
      running.process.kill(signal)
      await running.ended
      // Its children see to it themselves that they end.
      while ((await processesIn(dataDir)).length > 0) await sleep(20)
    },
    async up() {
      running = await start()
      isBack()
    },
    async freeze(forMs) {
      isUp = false
      // The first one starts the others.
      running.process.kill('SIGSTOP')
      const all = await processesIn(dataDir)
      signalAll(all, 'SIGSTOP')
      await sleep(forMs)
      signalAll(all, 'SIGCONT')
      isBack()
    },
    isUp: () => isUp,
    wasAwaySince: (atMs) => !isUp || lastUpMs + ECHO_MS >= atMs,
    async stop() {
      if (isUp) await end(running)
    },
  }
}

/** PostgreSQL's processes work in their data folder. */
async function processesIn(dir: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const cwds = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')))
  return pids.filter((_, i) => cwds[i] === dir)
}
