// What doctor says of a worker's own settings.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rowOf } from '../../server/setup/doctor/look.ts'
import { workerLooks } from '../../server/setup/doctor/worker-looks.ts'
import { givenDatabase } from '../helpers/database.ts'

test('doctor says of a worker whether its database and its server are there', async (t) => {
  const { url, db } = await givenDatabase(t)
  const serverUrl = 'http://127.0.0.1:9'
  const looks = workerLooks({ databaseUrl: url, serverUrl, token: 'x' })
  const rows = await Promise.all(looks.map(rowOf))
  assert.deepEqual(
    rows.map(({ name, problem }) => [name, problem]),
    [
      ['database', undefined],
      ['server', `SERVER_URL=${serverUrl} does not answer`],
    ],
  )
  await db('knex_migrations').delete()
  assert.match((await rowOf(looks[0]!)).problem ?? '', /the database is at empty/)
})
