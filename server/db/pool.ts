// The connection pool. Composition through knex; statements where order or locks matter are raw SQL.
import knex, { type Knex } from 'knex'
import pg from 'pg'
import { DATABASE_CONNECT_DEADLINE_MS } from '../limits.ts'
import { createNotices } from './notices.ts'

export type Db = Knex
/** A pool or a transaction of it. */
export type Queryable = Knex | Knex.Transaction

const INT8_OID = 20
const NUMERIC_OID = 1700

export interface DbOptions {
  poolMax?: number
  /** A process that is stopped within a transaction holds its locks no longer than this. */
  idleInTransactionMs?: number | undefined
}

export function createDb(url: string, { poolMax = 20, idleInTransactionMs }: DbOptions = {}): Db {
  // Counters, sequence numbers and sizes stay far below 2^53, so bigint columns are plain numbers here.
  pg.types.setTypeParser(INT8_OID, Number)
  pg.types.setTypeParser(NUMERIC_OID, Number)
  const db = knex({
    client: 'pg',
    connection: {
      connectionString: url,
      connectionTimeoutMillis: DATABASE_CONNECT_DEADLINE_MS,
      keepAlive: true,
      ...(idleInTransactionMs === undefined
        ? {}
        : { idle_in_transaction_session_timeout: idleInTransactionMs }),
    },
    pool: { min: 0, max: poolMax, idleTimeoutMillis: 30_000 },
    acquireConnectionTimeout: DATABASE_CONNECT_DEADLINE_MS,
    // It would print on stdout; whoever asks the database hears of what goes wrong.
    log: { debug() {}, warn() {}, error() {}, deprecate() {} },
  })
  const notices = createNotices(db)
  db.userParams = { notices }
  const { client } = db
  const { destroy } = client
  // Of this, and not of the client here: withUserParams() copies it.
  client.destroy = async function (this: typeof client) {
    await notices.stop()
    await destroy.call(this)
  }
  return db
}

/**
 * Rows of a raw statement; bindings are `?` or `:name`. One with a name is planned once for each connection: for
 * those whose planning takes longer than they do.
 */
export async function rows<Row>(
  db: Queryable,
  sql: string,
  bindings: readonly unknown[] | Record<string, unknown> = [],
  name?: string,
): Promise<Row[]> {
  const statement = db.raw(sql, bindings as Knex.RawBinding[])
  const result = await (name === undefined ? statement : statement.options({ name }))
  return result.rows as Row[]
}
