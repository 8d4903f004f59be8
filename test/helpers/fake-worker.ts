// A worker without machines: claims through the real queue and writes under the lease, as the pipeline does.
// What a build does in it is the test's to say.
import { randomUUID } from 'node:crypto'
import type { TestContext } from 'node:test'
import type { Provenance } from '../../server/builds/schema.ts'
import type { Db } from '../../server/db/pool.ts'
import { startWatchdog } from '../../server/pipeline/watchdog.ts'
import type { ClaimedBuild } from '../../server/queue/claim.ts'
import { createLease, type Lease } from '../../server/queue/lease.ts'
import { setSlots } from '../../server/queue/slots.ts'
import { createWorker, type Worker } from '../../server/queue/worker.ts'
import { createWorkerStore } from '../../server/workers/store.ts'
import { silent, type TestDatabase } from './database.ts'

export interface FakeRun {
  build: ClaimedBuild
  lease: Lease
  /** Aborts when the build is to stop. */
  signal: AbortSignal
  say(...lines: string[]): Promise<boolean>
  /** Pushing and done: what comes after that is the server's. */
  succeed(): Promise<boolean>
}

export const DIGEST = `sha256:${'d'.repeat(64)}`

export const PROVENANCE: Provenance = {
  source_hash: `sha256:${'0'.repeat(64)}`,
  buildkit_version: 'v0.33.1',
  timestamp: '2026-01-01T00:00:00Z',
}

export async function givenWorker(
  t: TestContext,
  { db, listener }: TestDatabase,
  play: (run: FakeRun) => Promise<unknown>,
  { slots = 2 } = {},
): Promise<Worker> {
  await setSlots(db, slots)
  const worker = createWorker({
    db,
    listener,
    log: silent,
    name: 'fake',
    async run(build, drain) {
      const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
      const watch = startWatchdog({ lease, listener, log: silent, timeoutMs: 60_000, drain })
      const { signal } = watch
      try {
        await play({
          build,
          lease,
          signal,
          say: (...lines) => lease.append(lines.map((line) => ({ type: 'log', line }))),
          succeed: async () => {
            await lease.markPushing()
            return lease.recordResult(DIGEST, PROVENANCE)
          },
        })
        if (watch.reason === 'cancel') await lease.cancelled()
        if (watch.reason === 'drain') await lease.handBack()
      } finally {
        watch.close()
      }
    },
  })
  await worker.start()
  t.after(() => worker.stop())
  return worker
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** The entry of a worker that claims nothing; it does not grow old. */
export async function givenWorkerEntry(db: Db, id = 'idle'): Promise<void> {
  await createWorkerStore({ db }).register({
    id,
    host: 'rack-1',
    dataDir: '/data',
    version: '0.1.0',
    slots: 1,
    session: randomUUID(),
  })
  await db('workers')
    .where({ id })
    .update({ last_seen_at: db.raw(`now() + interval '1 hour'`) })
}
