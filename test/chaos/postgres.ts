// A PostgreSQL of the run's own, durable as in production, that dies and comes back apart from the servers.
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { embeddedUrl, startEmbedded } from '../../server/db/embedded.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { createLog } from '../../server/telemetry/log.ts'
import { testParts } from '../helpers/parts.ts'

export interface ChaosPostgres {
  url: string
  /** SIGKILL, or SIGINT for a fast shutdown; resolves when all of its processes are gone. */
  down(signal: 'SIGKILL' | 'SIGINT'): Promise<void>
  up(): Promise<void>
  isUp(): boolean
  /** Whether it was away, or just came back, at any time since then. */
  wasAwaySince(atMs: number): boolean
  stop(): Promise<void>
}

/** After its return a process may still meet a refusal that it has been given before. */
const ECHO_MS = 3_000

/** In an empty folder that other users can walk into. */
export async function startPostgres(root: string): Promise<ChaosPostgres> {
  const { postgresBin: binDir, setpriv } = await testParts()
  const { db: user } = await ensureUsers()
  const log = createLog('silent')
  const [dataDir, socketDir] = [join(root, 'data'), join(root, 's')]
  const start = () => startEmbedded({ binDir, setpriv, dataDir, socketDir, user, log })
  let running = await start()
  let isUp = true
  let lastUpMs = 0

  async function down(signal: NodeJS.Signals): Promise<void> {
    isUp = false
    const [pid] = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')
    process.kill(Number(pid), signal)
    // Its children see to it themselves that they end.
    while ((await processesIn(dataDir)).length > 0) await sleep(20)
  }

  return {
    url: embeddedUrl(socketDir),
    down,
    async up() {
      running = await start()
      lastUpMs = Date.now()
      isUp = true
    },
    isUp: () => isUp,
    wasAwaySince: (atMs) => !isUp || lastUpMs + ECHO_MS >= atMs,
    async stop() {
      if (isUp) await running.stop()
    },
  }
}

/** PostgreSQL's processes work in their data folder. */
async function processesIn(dir: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const cwds = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')))
  return pids.filter((_, i) => cwds[i] === dir)
}
