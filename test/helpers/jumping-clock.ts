// A database whose clock can be set: its sessions find another clock_timestamp() and now() before PostgreSQL's own.
// Defaults of columns keep the real one.
import type { TestContext } from 'node:test'
import { createDb, type Db } from '../../server/db/pool.ts'
import { givenDatabase } from './database.ts'

export interface JumpingClock {
  /** Goes by the clock that is set. */
  db: Db
  url: string
  /** From where it is now; negative: back. */
  jump(seconds: number): Promise<void>
}

export async function givenJumpingClock(t: TestContext): Promise<JumpingClock> {
  const { db: plain, url } = await givenDatabase(t)
  const name = new URL(url).pathname.slice(1)
  await plain.raw(`
    create schema clock;
    create table clock.ahead as select interval '0' as by;
    create function clock.clock_timestamp() returns timestamptz language sql volatile as
      'select pg_catalog.clock_timestamp() + by from clock.ahead';
    create function clock.now() returns timestamptz language sql stable as
      'select pg_catalog.now() + by from clock.ahead';
    alter database ${name} set search_path = clock, pg_catalog, public;
  `)
  const db = createDb(url)
  t.after(() => db.destroy())
  return {
    db,
    url,
    async jump(seconds) {
      await plain.raw(`update clock.ahead set by = by + ? * interval '1 s'`, [seconds])
    },
  }
}
