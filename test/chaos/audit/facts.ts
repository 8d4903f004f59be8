// What the database says, read in one transaction, so that all of it is of one moment.
import { fromWire } from '../../../server/apps/schema.ts'
import type { BuildStatus } from '../../../server/builds/schema.ts'
import { createDb, type Db, rows } from '../../../server/db/pool.ts'
import { branchesOf, type HeldQueue, heldQueue } from './queue-facts.ts'

export interface AppFact {
  id: string
  tenant: string
  name: string
  settings: ReturnType<typeof fromWire>
}

export interface PushFact {
  id: number
  seq: number
  app_id: string
  ref: string
  new_sha: string
}

export interface BuildFact {
  id: string
  tenant: string
  app_id: string | null
  app: string | null
  push_id: number | null
  ref: string | null
  commit: string | null
  status: BuildStatus
  gate: 'closed' | 'open' | null
  attempt: number
  image_digest: string | null
  image_name: string | null
  image_expired_at: Date | null
  source_key: string
  source_expired_at: Date | null
  log_expired_at: Date | null
  superseded_by: string | null
  lease_token: string | null
  created_at: Date
  started_at: Date | null
  claimed_at: Date | null
  completed_at: Date | null
  last_seq: number
}

export interface AttemptFact {
  build_id: string
  tenant: string
  attempt: number
  worker: string
  /** Microseconds. */
  from: number
  until: number | null
  outcome: string | null
}

export interface LogFact {
  build_id: string
  events: number
  first: number
  last: number
  /** Of the first events that are not there. */
  missing: number[]
  statuses: BuildStatus[]
  last_type: string
  last_content: string | null
}

export interface Facts extends HeldQueue {
  apps: AppFact[]
  pushes: PushFact[]
  builds: BuildFact[]
  attempts: AttemptFact[]
  logs: LogFact[]
  branches: Awaited<ReturnType<typeof branchesOf>>
}

const MISSING_SHOWN = 5

export async function readFacts(databaseUrl: string): Promise<Facts> {
  const db = createDb(databaseUrl, { poolMax: 1 })
  try {
    return await db.transaction((trx) => readAll(trx), {
      isolationLevel: 'repeatable read',
      readOnly: true,
    })
  } finally {
    await db.destroy()
  }
}

async function readAll(db: Db): Promise<Facts> {
  const apps = await db('apps').orderBy('id')
  return {
    apps: apps.map(({ id, tenant, name, settings }) => ({
      id,
      tenant,
      name,
      settings: fromWire(settings),
    })),
    pushes: await db('pushes').orderBy('seq').select('id', 'seq', 'app_id', 'ref', 'new_sha'),
    builds: await rows<BuildFact>(
      db,
      `select id, tenant, app_id, app, push_id, ref, commit, status, gate, attempt, image_digest,
         request->>'image_name' as image_name, image_expired_at, log_expired_at, superseded_by,
         lease_token, source_key, source_expired_at, created_at, started_at, claimed_at, completed_at, last_seq
       from builds order by created_at, id`,
    ),
    attempts: await attemptsOf(db),
    logs: await logsOf(db),
    branches: await branchesOf(db),
    ...(await heldQueue(db)),
  }
}

function attemptsOf(db: Db): Promise<AttemptFact[]> {
  const micros = (column: string) => `(extract(epoch from ${column}) * 1000000)::int8`
  return rows<AttemptFact>(
    db,
    `select build_id, tenant, a.attempt, a.worker, ${micros('a.claimed_at')} as from,
       ${micros('a.ended_at')} as until, outcome
     from attempts a join builds on builds.id = build_id order by a.id`,
  )
}

function logsOf(db: Db): Promise<LogFact[]> {
  return rows<LogFact>(
    db,
    `with told as (
       select build_id, count(*)::int as events, min(seq) as first, max(seq) as last,
         coalesce(array_agg(content order by seq) filter (where type = 'status'), '{}') as statuses,
         (array_agg(type order by seq desc))[1] as last_type,
         (array_agg(content order by seq desc))[1] as last_content
       from build_events group by build_id
     )
     select told.*, array(
       select n::float8 from generate_series(1, last) n
       where events < last
         and not exists (select from build_events e where e.build_id = told.build_id and seq = n)
       order by n limit ${MISSING_SHOWN}
     ) as missing
     from told`,
  )
}
