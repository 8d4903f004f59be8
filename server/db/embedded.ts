// The default database: a real PostgreSQL under the data folder, on a unix socket in a private folder. It dies with
// the server (parent-death signal) and is started again when it ends by itself; one that outlived its server is
// stopped before a new start.
import { once } from 'node:events'
import { chmod, chown, mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'
import {
  embeddedUrl,
  end,
  initialise,
  launch,
  type PostgresOptions,
  type PostgresProcess,
  stopLeftover,
} from './postgres-process.ts'

export { embeddedUrl } from './postgres-process.ts'

const RESTART_DELAY_MS = 200
/** Tries get rarer, up to this: what keeps it down, such as a full disk, may pass. */
const RESTART_DELAY_MAX_MS = 5_000

export interface Embedded {
  url: string
  /** Of the process that runs now; undefined while there is none. */
  pid(): number | undefined
  /** Idempotent. */
  stop(): Promise<void>
}

/** Rejects, leaving nothing behind, when the first start fails; later ones are tried until stop(). */
export async function startEmbedded(options: PostgresOptions): Promise<Embedded> {
  const { dataDir, socketDir, user, log } = options
  for (const dir of [dataDir, socketDir]) {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await chmod(dir, 0o700)
    if (user) await chown(dir, user.uid, user.gid)
  }
  await stopLeftover(dataDir)
  await initialise(options)
  const stopping = new AbortController()
  const { signal } = stopping
  const stopped = once(signal, 'abort').then(() => 'stopped')
  let current: PostgresProcess | undefined = await launch(options, signal)
  const supervised = supervise()

  async function supervise(): Promise<void> {
    let delayMs = RESTART_DELAY_MS
    while (!signal.aborted) {
      const how = current && (await Promise.race([current.ended, stopped]))
      if (signal.aborted) break
      if (how) log.error({ how }, 'PostgreSQL ended; starting it again')
      current = undefined
      await sleep(delayMs, undefined, { signal }).catch(() => {})
      if (signal.aborted) break
      try {
        current = await launch(options, signal)
        delayMs = RESTART_DELAY_MS
        log.info({ pid: current.process.pid }, 'PostgreSQL is back')
      } catch (error) {
        delayMs = Math.min(2 * delayMs, RESTART_DELAY_MAX_MS)
        log.error({ err: asError(error).message }, 'PostgreSQL does not start; will retry')
      }
    }
    if (current) await end(current)
    current = undefined
  }

  return {
    url: embeddedUrl(socketDir),
    pid: () => current?.process.pid,
    async stop() {
      stopping.abort()
      await supervised
    },
  }
}
