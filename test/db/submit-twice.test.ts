// Requests sent again, and more of them than a tenant may have queued: the database decides, however many at once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf } from '../helpers/http.ts'
import { DOCKERFILE, post, tarGzOf } from '../helpers/sources.ts'

const AT_ONCE = 12

async function submitter(api: TestApi) {
  const source = await tarGzOf(DOCKERFILE)
  return (key?: string, ...fields: [string, string][]) =>
    api.call('/builds', {
      ...post(['source', source], ...fields),
      headers: key === undefined ? {} : { 'idempotency-key': key },
    })
}

test('the same request with its Idempotency-Key gets the same build; another request is a conflict', async (t) => {
  const api = await givenApi(t)
  const submit = await submitter(api)
  const first = await submit('k1', ['cpus', '2'])
  const again = await submit('k1', ['cpus', '2'])
  assert.deepEqual([first.status, again.status], [202, 202])
  assert.deepEqual(await bodyOf(again), await bodyOf(first))
  const other = await submit('k1', ['cpus', '3'])
  assert.equal(other.status, 409)
  const error = await bodyOf(other)
  assert.equal(error.code, 'conflict')
  assert.match(
    error.message,
    /^idempotency-key "k1" was used for another request, which made build /,
  )
  assert.equal((await submit('k2', ['cpus', '3'])).status, 202)
  assert.equal((await submit(undefined, ['cpus', '3'])).status, 202)
  assert.equal((await api.db('builds')).length, 3)
  assert.equal((await api.objectFiles()).length, 1)
})

test('an Idempotency-Key belongs to its tenant and is forgotten after a day', async (t) => {
  const api = await givenApi(t)
  const submit = await submitter(api)
  const { id } = await bodyOf(await submit('k1'))
  const token = await api.token({ sub: 'bob', tenant: 'other' })
  const init = {
    ...post(['source', await tarGzOf(DOCKERFILE)]),
    headers: { 'idempotency-key': 'k1' },
  }
  const foreign = await bodyOf(await api.call('/builds', { ...init, token }))
  assert.notEqual(foreign.id, id)
  await api.db('idempotency_keys').update({ created_at: new Date(Date.now() - 25 * 3_600_000) })
  assert.notEqual((await bodyOf(await submit('k1'))).id, id)
  assert.equal((await api.db('idempotency_keys')).length, 1)
})

test('an Idempotency-Key that is none is refused', async (t) => {
  const api = await givenApi(t)
  const submit = await submitter(api)
  for (const key of ['a b', 'x'.repeat(256)]) {
    const reply = await submit(key)
    assert.equal(reply.status, 400)
    assert.match((await bodyOf(reply)).message, /^header idempotency-key=/)
  }
})

test('many at once with one Idempotency-Key make one build', async (t) => {
  const api = await givenApi(t)
  const submit = await submitter(api)
  const replies = await Promise.all(Array.from({ length: AT_ONCE }, () => submit('k1')))
  const ids = await Promise.all(replies.map(async (reply) => (await bodyOf(reply)).id))
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [202])
  assert.equal(new Set(ids).size, 1)
  assert.equal((await api.db('builds')).length, 1)
})

test('many at once never exceed what a tenant may have queued; others are not held up', async (t) => {
  const api = await givenApi(t, { queuedMax: 5 })
  const submit = await submitter(api)
  const replies = await Promise.all(Array.from({ length: AT_ONCE }, () => submit()))
  const refused = replies.filter(({ status }) => status === 429)
  assert.equal(replies.filter(({ status }) => status === 202).length, 5)
  assert.equal(refused.length, AT_ONCE - 5)
  const error = await bodyOf(refused[0]!)
  assert.equal(error.code, 'queue_full')
  assert.match(error.message, /^5 builds of acme are queued already, and at most 5 may be$/)
  assert.match(refused[0]!.headers.get('retry-after') ?? '', /^\d+$/)
  assert.equal((await api.db('builds')).length, 5)
  await givenBuild(api.db, { tenant: 'other' })
  await api.db('builds').where({ tenant: 'acme' }).update({ status: 'building' })
  assert.equal((await submit()).status, 202)
})

test('a request that was taken is answered again even when the queue is full by now', async (t) => {
  const api = await givenApi(t, { queuedMax: 1 })
  const submit = await submitter(api)
  const { id } = await bodyOf(await submit('k1'))
  assert.equal((await submit('k2')).status, 429)
  assert.equal((await bodyOf(await submit('k1'))).id, id)
  assert.equal((await api.objectFiles()).length, 1)
})

test('a refusal does not take the source from another build that has the same', async (t) => {
  const api = await givenApi(t)
  const submit = await submitter(api)
  await submit()
  const [kept] = await api.objectFiles()
  assert.equal((await submit(undefined, ['cpus', '99'])).status, 400)
  assert.deepEqual(await api.objectFiles(), [kept])
})
