// The default database: a real PostgreSQL under the data folder, on a unix socket in a private folder. It dies with
// the server (parent-death signal) and is started again when it ends by itself; one that outlived its server is
// stopped before a new start.
import { chmod, chown, mkdir } from 'node:fs/promises'
import { type Supervised, supervise } from '../supervise.ts'
import {
  embeddedUrl,
  end,
  initialise,
  launch,
  type PostgresOptions,
  stopLeftover,
} from './postgres-process.ts'

export { embeddedUrl } from './postgres-process.ts'

const RESTART_DELAY_MS = 200
/** Tries get rarer, up to this: what keeps it down, such as a full disk, may pass. */
const RESTART_DELAY_MAX_MS = 5_000

export interface Embedded extends Supervised {
  url: string
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
  const child = await supervise({
    name: 'PostgreSQL',
    log,
    launch: (signal) => launch(options, signal),
    end,
    delayMs: RESTART_DELAY_MS,
    delayMaxMs: RESTART_DELAY_MAX_MS,
  })
  return { url: embeddedUrl(socketDir), ...child }
}
