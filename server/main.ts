// The composition root: config → parts → database → services → HTTP and worker. Everything that is started
// registers its release; SIGTERM releases in reverse order, a second signal exits at once.
import { readFile, writeFile } from 'node:fs/promises'
import { createId } from '@paralleldrive/cuid2'
import { startCore } from './compose/core.ts'
import { keepParts } from './compose/parts.ts'
import { startServerRole } from './compose/server-role.ts'
import { startWorkerRole } from './compose/worker-role.ts'
import type { Config } from './config.ts'
import { makeFolders } from './data-dir.ts'
import { asError } from './errors.ts'
import { lockDataDir } from './lock.ts'
import { forbidCoreDumps } from './no-core-dumps.ts'
import { type Paths, pathsFor } from './paths.ts'
import { createReleasers } from './releasers.ts'
import { ensureParts } from './setup/parts.ts'
import { ensureUsers } from './setup/users.ts'
import { createLog } from './telemetry/log.ts'
import { greet } from './welcome.ts'

const SIGNALS = ['SIGTERM', 'SIGINT'] as const

export async function main(config: Config): Promise<void> {
  const log = createLog(config.logLevel)
  const releasers = createReleasers(log)
  endOnSignal(() => releasers.release())
  try {
    await forbidCoreDumps(log)
    const parts = await ensureParts()
    const users = await ensureUsers()
    const paths = pathsFor(config.dataDir)
    await makeFolders(paths, { hasOtherUsers: users.db !== null })
    releasers.add('lock', await lockDataDir(paths.lockSocket, paths.dataDir))
    const core = await startCore({ config, parts, users, paths, log, releasers })
    const server = await startServerRole(core)
    await startWorkerRole(core, { workerName: await workerName(paths) })
    await keepParts(core)
    core.log.info({ url: server.url }, 'ready')
    process.stdout.write(`hypeman ready ${server.url}\n`)
    if (process.stdout.isTTY) greet(core.publicUrl())
  } catch (error) {
    await releasers.release()
    throw error
  }
}

function endOnSignal(release: () => Promise<void>): void {
  let asked = false
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (asked) process.exit(1)
      asked = true
      release().then(
        () => process.exit(0),
        (error) => {
          process.stderr.write(`error: shutdown: ${asError(error).message}\n`)
          process.exit(1)
        },
      )
    })
  }
}

/** The same after a restart, so that a worker knows the builds its dead predecessor held. */
async function workerName(paths: Paths): Promise<string> {
  const known = await readFile(paths.workerName, 'utf8').catch(() => '')
  if (known.trim()) return known.trim()
  const name = `worker-${createId().slice(0, 10)}`
  await writeFile(paths.workerName, `${name}\n`)
  return name
}
