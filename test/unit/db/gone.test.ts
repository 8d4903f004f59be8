// What counts as a database that is away, in the words of the driver, of knex and of PostgreSQL.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDatabaseGone } from '../../../server/db/gone.ts'

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
