// The PostgreSQL of a chaos run: away for as long as its fault says, and then the same again.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startPostgres } from './postgres.ts'

/** Long enough for anything that would start it again by itself. */
const AWAY_MS = 1_500

test('a PostgreSQL that was killed stays away until it is brought back: it was back at once', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'hm-away-'))
  await chmod(root, 0o711)
  const postgres = await startPostgres(root)
  t.after(async () => {
    await postgres.stop()
    await rm(root, { recursive: true, force: true })
  })
  const ask = async (statement: string) => {
    const client = new pg.Client({ connectionString: postgres.url })
    client.on('error', () => {}) // the statement that is under way reports it
    await client.connect()
    const { rows } = await client.query(statement)
    await client.end()
    return rows
  }
  await ask('create table kept as select 7 as n')
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    await postgres.down(signal)
    await sleep(AWAY_MS)
    await assert.rejects(ask('select 1'), /ENOENT|ECONNREFUSED/)
    await postgres.up()
    assert.deepEqual(await ask('select n from kept'), [{ n: 7 }])
  }
  const frozen = postgres.freeze(500)
  assert.equal(postgres.isUp(), false)
  let isFrozen = true
  const answer = ask('select n from kept').then((rows) => ({ rows, isFrozen }))
  await frozen
  isFrozen = false
  assert.deepEqual(await answer, { rows: [{ n: 7 }], isFrozen: false })
})
