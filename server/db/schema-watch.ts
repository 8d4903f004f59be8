// Whether the database is still the one this process started on: a newer program may bring it up to date at any
// time, as in an update of several servers one by one. Then this process must not go on.
import { HEARTBEAT_MS } from '../limits.ts'
import { createRounds } from '../rounds.ts'
import type { Log } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import type { Listener } from './listen.ts'
import { appliedNames, migrationNames } from './migrate.ts'
import type { Db } from './pool.ts'

export interface SchemaWatchOptions {
  db: Db
  listener: Listener
  log: Log
  /** Told once: the process must not go on. */
  onUnfit(reason: string): void
}

export type SchemaWatch = ReturnType<typeof createSchemaWatch>

export function createSchemaWatch({ db, listener, log, onUnfit }: SchemaWatchOptions) {
  let known: string[] = []
  let skew: string | undefined
  let off = () => {}

  async function look(): Promise<void> {
    if (skew !== undefined) return
    skew = skewOf(known, await appliedNames(db))
    if (skew !== undefined) onUnfit(skew)
  }

  const rounds = createRounds({
    work: look,
    intervalMs: HEARTBEAT_MS,
    onError: ({ message }) => log.warn({ err: message }, 'schema not looked at; will retry'),
  })

  return {
    /** Why this process may not go on. */
    skew: () => skew,

    async start(): Promise<void> {
      // Once: an update may put new files in their place while this process runs.
      known = await migrationNames()
      off = listener.on('hypeman_migrated', rounds.poke)
      await rounds.start(HEARTBEAT_MS)
    },

    async stop(): Promise<void> {
      off()
      await rounds.stop()
    },
  }
}

function skewOf(known: string[], applied: string[]): string | undefined {
  const newer = applied.findLast((name) => !known.includes(name))
  if (newer !== undefined) {
    return `the database is at ${newer} now, which this program (version ${VERSION}) does not know: a newer one has brought it up to date. Run that version`
  }
  const missing = known.find((name) => !applied.includes(name))
  if (missing === undefined) return undefined
  return `the database lacks ${missing}, which this program (version ${VERSION}) needs: it was put back to an earlier state. Start the server of this version again: it brings the database up to date`
}
