// Keeps the disks of builders tidy on a worker: what was pruned or removed goes, and what nobody uses.
import type { Listener } from '../db/listen.ts'
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { BUILDER_IDLE_DAYS, BUILDERS_TIDY_INTERVAL_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { BUSY, EMPTIED } from './busy.ts'
import type { BuilderDisks } from './disks.ts'

export interface TidyOptions {
  db: Db
  listener: Listener
  log: Log
  disks: Pick<BuilderDisks, 'sweep' | 'keepRoom'>
}

export function createBuilderTidy({ db, listener, log, disks }: TidyOptions) {
  let off = () => {}

  async function tidy(): Promise<void> {
    const idle = await rows<{ id: string }>(
      db,
      `update builders
       set ${EMPTIED}
       where generation is not null and not ${BUSY}
         and coalesce(last_used_at, created_at) < clock_timestamp() - ? * interval '1 day'
       returning id`,
      [BUILDER_IDLE_DAYS],
    )
    // Read before the sweep: one that is pruned during it waits for the next.
    const pruned = await db('builders').where({ status: 'pruning' }).select('key')
    const removed = await disks.sweep()
    await disks.keepRoom()
    if (removed.length + idle.length > 0) log.info({ removed, idle }, 'disks of builders removed')
    if (pruned.length === 0) return
    const keys = pruned.map(({ key }) => key)
    await db('builders')
      .whereIn('key', keys)
      .where({ status: 'pruning' })
      .update({ status: 'ready' })
    notify(db, 'hypeman_queue', '')
  }

  const rounds = createRounds({
    work: tidy,
    intervalMs: BUILDERS_TIDY_INTERVAL_MS,
    onError: ({ message }) => log.error({ err: message }, 'builders not tidied; will retry'),
  })

  return {
    start(): void {
      off = listener.on('hypeman_builders', rounds.poke)
      void rounds.start()
    },
    async stop(): Promise<void> {
      off()
      await rounds.stop()
    },
  }
}
