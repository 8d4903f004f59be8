// What counts as a database that is away, in the words of the driver, of knex and of PostgreSQL.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { databaseUnavailable, isDatabaseGone, untilDatabase } from '../../../server/db/gone.ts'

const coded = (code: string, more = {}) => Object.assign(new Error('no'), { code, ...more })

test('a connection that is lost in the middle of a statement is a database that is away, not a mistake of the server', () => {
  for (const gone of [
    new Error('Connection terminated unexpectedly'),
    new Error('select "a" from "b" where "c" = $1 - Connection terminated unexpectedly'),
    new Error('select 1 - Connection terminated due to connection timeout'),
    new Error('select 1 - Client has encountered a connection error and is not queryable'),
    new Error('timeout expired'),
    coded('57P02'),
    coded('25P03'),
    coded('EPIPE'),
    coded('ECONNREFUSED'),
    coded('ENOENT', { syscall: 'connect' }),
  ]) {
    assert.equal(isDatabaseGone(gone), true, gone.message)
  }
})

test('other failures are not taken for it', () => {
  for (const other of [
    new Error('insert into logs (line) values ($1) - value "Connection terminated" is not allowed'),
    new Error('the timeout expired, and nobody came'),
    coded('23505'),
    coded('ENOENT', { syscall: 'open' }),
  ]) {
    assert.equal(isDatabaseGone(other), false, other.message)
  }
})

test('of two transactions that waited for each other, the one that was taken back is repeated, and lost by nobody', async () => {
  const deadlock = coded('40P01')
  let tries = 0
  const done = await untilDatabase(async () => {
    tries += 1
    if (tries < 3) throw deadlock
    return 'queued'
  }, AbortSignal.timeout(60_000))
  assert.deepEqual([done, tries], ['queued', 3])
  assert.equal(isDatabaseGone(deadlock), false, 'nobody is told that it is away')
  assert.match(databaseUnavailable(deadlock).message, /took this back, .* try again in a moment$/)
})
