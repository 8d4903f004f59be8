import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createReferrerStore } from '../../server/registry/referrer-store.ts'
import { givenDatabase } from '../helpers/database.ts'

const digest = `sha256:${'a'.repeat(64)}`
const subject = `sha256:${'b'.repeat(64)}`
const descriptor = { mediaType: 'application/json', digest, size: 1 }
const all = { repo: 'a', subject, artifactType: undefined, after: undefined, limit: 10 }

test('a referrer that is gone is forgotten, one that has just come back is not', async (t) => {
  const { db } = await givenDatabase(t)
  const store = createReferrerStore({ db })
  const age = () => db('referrers').update({ created_at: db.raw(`now() - interval '1 hour'`) })
  await store.record('a', { subject, descriptor })
  await age()
  await store.record('a', { subject, descriptor })
  await store.forget('a', [digest])
  assert.deepEqual(await store.list(all), [descriptor])
  await age()
  await store.forget('b', [digest])
  assert.deepEqual(await store.list(all), [descriptor])
  await store.forget('a', [digest])
  assert.deepEqual(await store.list(all), [])
})
