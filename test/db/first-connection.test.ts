// DATABASE_URL that leads nowhere: the setting is named, and its password is not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requireDatabase } from '../../server/db/first-connection.ts'
import { createDb } from '../../server/db/pool.ts'
import { givenDatabase } from '../helpers/database.ts'

async function complaint(url: string): Promise<string> {
  const db = createDb(url)
  try {
    await requireDatabase(db, url)
    return ''
  } catch (error) {
    assert.ok(error instanceof Error)
    assert.equal(error.name, 'ConfigError')
    return error.message
  } finally {
    await db.destroy()
  }
}

test('a database that nobody serves is named by its setting, without its password', async () => {
  const said = await complaint('postgres://ada:pa55word@127.0.0.1:1/builds?password=hidden')
  assert.match(said, /^DATABASE_URL=postgres:\/\/ada@127\.0\.0\.1:1\/builds: no database/)
  assert.match(said, /connect ECONNREFUSED 127\.0\.0\.1:1\. PostgreSQL must run there/)
  assert.doesNotMatch(said, /pa55word|hidden/)
})

test('a database that does not exist is named by its setting, and one that does is fine', async (t) => {
  const { url } = await givenDatabase(t)
  assert.equal(await complaint(url), '')
  const other = new URL(url)
  other.pathname = '/nowhere'
  assert.match(await complaint(other.href), /^DATABASE_URL=.*database "nowhere" does not exist/)
})
