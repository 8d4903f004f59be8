// What counts as a database that is away, in the words of the driver, of knex and of PostgreSQL.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDatabaseGone } from '../../../server/db/gone.ts'

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code })

test('a transaction whose connection broke says that the database is away, not that the server is broken', () => {
  const gone = [
    new Error('ROLLBACK - Client has encountered a connection error and is not queryable'),
    new Error('select 1 - Connection terminated unexpectedly'),
    new Error('Connection terminated unexpectedly'),
    withCode('25P03', 'terminating connection due to idle-in-transaction timeout'),
    withCode('57P03', 'the database system is not yet accepting connections'),
    withCode('EPIPE', 'insert into "builds" - write EPIPE'),
  ]
  for (const error of gone) assert.ok(isDatabaseGone(error), error.message)
  const others = [
    withCode('23505', 'duplicate key'),
    withCode('ENOENT', 'no such file'),
    new Error('the step printed: Connection terminated'),
  ]
  for (const error of others) assert.ok(!isDatabaseGone(error), error.message)
})
