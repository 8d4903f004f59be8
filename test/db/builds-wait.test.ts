// GET /builds/{id}?wait: a change of status is heard at once, by everybody, and nobody waits for nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { appendEvents } from '../../server/builds/event-store.ts'
import { endColumns, transition } from '../../server/builds/transitions.ts'
import type { Db } from '../../server/db/pool.ts'
import { givenApi } from '../helpers/api.ts'
import { givenBuild } from '../helpers/builds.ts'
import { bodyOf } from '../helpers/http.ts'

const LIMIT = { timeout: 180_000 }

const cancelled = (db: Db, id: string) =>
  transition(db, { id, from: ['queued'], to: 'cancelled', set: endColumns(db) })

test('a wait answers when the status changes, to everybody who waits', LIMIT, async (t) => {
  const { call, db, buildLog } = await givenApi(t)
  const { id } = await givenBuild(db)
  const first = call(`/builds/${id}?wait=60s`)
  while (buildLog.followed() === 0) await sleep(10)
  const others = Array.from({ length: 20 }, () => call(`/builds/${id}?wait=60s&status=queued`))
  const waiting = [first, ...others]
  await appendEvents(db, id, [{ type: 'log', line: 'a line is no change of status' }])
  await transition(db, { id, from: ['queued'], to: 'building' })
  for (const reply of await Promise.all(waiting)) {
    assert.equal((await bodyOf(reply)).status, 'building')
  }
})

test(
  'a wait is answered at once when the status is not the known one, or can’t change any more',
  LIMIT,
  async (t) => {
    const { call, db } = await givenApi(t)
    const { id } = await givenBuild(db)
    const known = await bodyOf(await call(`/builds/${id}?wait=60s&status=building`))
    assert.equal(known.status, 'queued')
    await cancelled(db, id)
    for (const query of ['wait=60s', 'wait=1m&status=cancelled']) {
      assert.equal((await bodyOf(await call(`/builds/${id}?${query}`))).status, 'cancelled')
    }
  },
)

test('a wait whose time is up gives what there is; its length has a limit', LIMIT, async (t) => {
  const { call, db } = await givenApi(t)
  const { id } = await givenBuild(db)
  assert.equal((await bodyOf(await call(`/builds/${id}?wait=50ms`))).status, 'queued')
  assert.equal((await bodyOf(await call(`/builds/${id}?wait=0s`))).status, 'queued')
  for (const wait of ['61s', '2m', '30', 'soon', '-1s', '1h']) {
    const reply = await call(`/builds/${id}?wait=${wait}`)
    assert.equal(reply.status, 400, wait)
    assert.match((await bodyOf(reply)).message, /must be like 500ms, 30s or 1m, at most 60s$/)
  }
})

test(
  'a wait ends when its caller goes, and with an answer when the server stops',
  LIMIT,
  async (t) => {
    const { call, db, buildLog, http } = await givenApi(t)
    const { id } = await givenBuild(db)
    const leaving = new AbortController()
    const left = call(`/builds/${id}?wait=60s`, { signal: leaving.signal })
    while (buildLog.followed() === 0) await sleep(10)
    leaving.abort()
    await assert.rejects(left)
    while (buildLog.followed() > 0) await sleep(10)
    const staying = call(`/builds/${id}?wait=60s`)
    while (buildLog.followed() === 0) await sleep(10)
    await Promise.all([http.stop(), staying.then((reply) => assert.equal(reply.status, 200))])
  },
)
