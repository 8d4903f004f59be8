// The composition root: config → parts → database → services → HTTP and worker, as far as the role has them.
// Everything that is started registers its release; SIGTERM releases in reverse order, a second signal exits at once.
import { readFile, writeFile } from 'node:fs/promises'
import { createId } from '@paralleldrive/cuid2'
import { type Boot, startCore } from './compose/core.ts'
import { localLink } from './compose/local-link.ts'
import { requireOwnObjects } from './compose/own-objects.ts'
import { keepParts } from './compose/parts.ts'
import { remoteLink } from './compose/remote-link.ts'
import { startServerCore } from './compose/server-core.ts'
import { startServerRole } from './compose/server-role.ts'
import { serveWorkerMetrics } from './compose/worker-metrics.ts'
import { startWorkerRole, type WorkerRoleOptions } from './compose/worker-role.ts'
import type { Config } from './config.ts'
import { makeFolders } from './data-dir.ts'
import { requireMigrated } from './db/migrate.ts'
import { asError } from './errors.ts'
import { lockDataDir } from './lock.ts'
import { forbidCoreDumps } from './no-core-dumps.ts'
import { type Paths, pathsFor } from './paths.ts'
import { createReapLoop } from './queue/reap-loop.ts'
import { createReleasers } from './releasers.ts'
import { ensureParts } from './setup/parts.ts'
import { ensureUsers } from './setup/users.ts'
import { createLog } from './telemetry/log.ts'
import { greet } from './welcome.ts'
import { type WorkerConfig, workerConfig } from './worker-config.ts'

const SIGNALS = ['SIGTERM', 'SIGINT'] as const

export async function main(config: Config): Promise<void> {
  const ofWorker = config.role === 'worker' ? workerConfig(config) : undefined
  const log = createLog(config.logLevel)
  const releasers = createReleasers(log)
  const ending = endOnSignal(() => releasers.release())
  // Ctrl-C is meant at once.
  const graceMs = () => (ending.signal === 'SIGTERM' ? config.drainSeconds * 1000 : 0)
  try {
    await forbidCoreDumps(log)
    const parts = await ensureParts()
    const users = await ensureUsers()
    const paths = pathsFor(config.dataDir)
    await makeFolders(paths, { hasOtherUsers: users.db !== null })
    releasers.add('lock', await lockDataDir(paths.lockSocket, paths.dataDir))
    const onUnfit = (reason: string) => void ending.end(reason)
    const boot: Boot = { config, parts, users, paths, log, releasers, onUnfit }
    if (ofWorker) await runWorker(boot, ofWorker, graceMs)
    else await runServer(boot, graceMs)
  } catch (error) {
    await releasers.release()
    throw error
  }
}

type Grace = WorkerRoleOptions['graceMs']

/** The roles `all` and `server`. */
async function runServer(boot: Boot, graceMs: Grace): Promise<void> {
  const core = await startServerCore(boot)
  const server = await startServerRole(core)
  if (boot.config.role === 'all') {
    const workerName = await nameOf(boot.paths)
    await startWorkerRole(core, { workerName, link: localLink(core), graceMs })
  } else {
    const reaper = createReapLoop({ db: core.db, log: boot.log.child({ mod: 'reaper' }) })
    reaper.start()
    boot.releasers.add('reaper', () => reaper.stop())
  }
  await keepParts(core)
  core.log.info({ url: server.url }, 'ready')
  process.stdout.write(`hypeman ready ${server.url}\n`)
  if (process.stdout.isTTY) greet(core.publicUrl())
}

/** A worker alone: no git, no API, no keys. */
async function runWorker(boot: Boot, config: WorkerConfig, graceMs: Grace): Promise<void> {
  const { databaseUrl, serverUrl: url, token } = config
  const workerName = await nameOf(boot.paths)
  const core = await startCore(boot, { databaseUrl, prepare: requireMigrated })
  const waiting = new AbortController()
  boot.releasers.add('waiting for the server', () => waiting.abort())
  const onRefused = boot.onUnfit
  const link = await remoteLink(core, { url, token, worker: workerName, onRefused }, waiting.signal)
  await requireOwnObjects(core)
  await serveWorkerMetrics(core)
  await startWorkerRole(core, { workerName, link, graceMs })
  await keepParts(core)
  core.log.info({ worker: workerName, server: url }, 'ready')
  process.stdout.write(`hypeman worker ready ${workerName}\n`)
}

function endOnSignal(release: () => Promise<void>) {
  const ending = {
    signal: undefined as NodeJS.Signals | undefined,
    /** Ends the process by itself, with an error. */
    async end(reason: string): Promise<void> {
      if (ending.signal !== undefined) return
      ending.signal = 'SIGTERM'
      process.stderr.write(`error: ${reason}\n`)
      await exitAfter(release, 1)
    },
  }
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (ending.signal !== undefined) process.exit(1)
      ending.signal = signal
      void exitAfter(release, 0)
    })
  }
  return ending
}

async function exitAfter(release: () => Promise<void>, code: number): Promise<void> {
  try {
    await release()
    process.exit(code)
  } catch (error) {
    process.stderr.write(`error: shutdown: ${asError(error).message}\n`)
    process.exit(1)
  }
}

/** The same after a restart, so that a worker knows the builds its dead predecessor held. */
async function nameOf(paths: Paths): Promise<string> {
  const known = await readFile(paths.workerName, 'utf8').catch(() => '')
  if (known.trim()) return known.trim()
  const name = `worker-${createId().slice(0, 10)}`
  await writeFile(paths.workerName, `${name}\n`)
  return name
}
