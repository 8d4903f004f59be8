// Idempotency-Key: the same request sent again within a day is answered with the build it made. Rows are
// written under lockQueue(), so two at once make one build.
import { createHash } from 'node:crypto'
import { type Queryable, rows } from '../db/pool.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { IDEMPOTENCY_KEY_CHARS_MAX, IDEMPOTENCY_TTL_HOURS } from '../limits.ts'

export interface RepeatableRequest {
  tenant: string
  key: string
  /** Of everything that was sent. */
  fingerprint: string
}

/** undefined when the header is absent. */
export function readIdempotencyKey(header: string): string | undefined {
  if (header === '') return undefined
  if (/^[\x21-\x7e]+$/.test(header) && header.length <= IDEMPOTENCY_KEY_CHARS_MAX) return header
  const limit = `1 to ${IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters`
  throw invalidRequest(`header idempotency-key=${JSON.stringify(header.slice(0, 80))}: ${limit}`)
}

export function fingerprintOf(form: ReadonlyMap<string, string>, sourceHash = ''): string {
  const fields = [...form].sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([fields, sourceHash]))
    .digest('hex')
}

/** The build this request made before. Throws AppError `conflict` when the key belongs to another request. */
export async function repeatedBuild(
  db: Queryable,
  { tenant, key, fingerprint }: RepeatableRequest,
): Promise<string | undefined> {
  const [row] = await rows<{ fingerprint: string; build_id: string }>(
    db,
    `select fingerprint, build_id from idempotency_keys
     where tenant = ? and key = ? and created_at > clock_timestamp() - make_interval(hours => ?)`,
    [tenant, key, IDEMPOTENCY_TTL_HOURS],
  )
  if (row === undefined || row.fingerprint === fingerprint) return row?.build_id
  throw new AppError(
    'conflict',
    `idempotency-key ${JSON.stringify(key)} was used for another request, which made build ${row.build_id}`,
  )
}

export async function rememberBuild(
  db: Queryable,
  { tenant, key, fingerprint }: RepeatableRequest,
  buildId: string,
): Promise<void> {
  await db.raw(
    `delete from idempotency_keys
     where created_at <= clock_timestamp() - make_interval(hours => ?)`,
    [IDEMPOTENCY_TTL_HOURS],
  )
  await db('idempotency_keys').insert({ tenant, key, fingerprint, build_id: buildId })
}
