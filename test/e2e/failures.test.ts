// Each way a build can end badly has its own class, and afterwards nothing of it is left. In sandboxes, which
// start at once; what a guest does when its memory ends is shown by a real one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Build } from '../../server/builds/schema.ts'
import { followEvents, givenApp, givenSettings } from '../helpers/apps.ts'
import { leftovers, podPids } from '../helpers/leftovers.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

test('a timeout and an out-of-memory RUN are told apart', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  await givenSettings(server, token, 'slow', { policy: { timeout_seconds: 25 } })
  await givenSettings(server, token, 'hungry', { policy: { memory_mb: 768 } })
  const slow = await givenApp(t, server, token, 'slow', 'slow')
  const hungry = await givenApp(t, server, token, 'hungry', 'hungry')

  const [late, greedy] = await Promise.all([
    slow.push('hypeman', 'main'),
    hungry.push('hypeman', 'main'),
  ])

  assert.ok(late.buildId, late.text)
  const timedOut = await server.build(late.buildId, token)
  assert.equal(timedOut.status, 'failed')
  assert.equal(timedOut.failure_class, 'timeout')
  assert.match(timedOut.error ?? '', /25 s/)
  assert.match(late.text, /class timeout/)

  assert.ok(greedy.buildId, greedy.text + server.logged())
  const outOfMemory = await server.build(greedy.buildId!, token)
  assert.equal(outOfMemory.failure_class, 'oom', outOfMemory.error)
  assert.match(greedy.text, /hint: .*memory_mb/)

  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  assert.deepEqual(await podPids(server.pid), [])
})

test('a guest whose memory ends is class oom, and its VM is gone', async (t) => {
  const server = await givenServer(t)
  const token = await server.token('ada')
  await givenSettings(server, token, 'hungry', { policy: { memory_mb: 768 } })
  const hungry = await givenApp(t, server, token, 'hungry', 'hungry')
  const greedy = await hungry.push('hypeman', 'main')
  assert.ok(greedy.buildId, greedy.text + server.logged())
  const outOfMemory = await server.build(greedy.buildId, token)
  assert.equal(outOfMemory.failure_class, 'oom', outOfMemory.error)
  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  assert.deepEqual(await podPids(server.pid), [])
})

test('a pod killed from outside twice is the installation’s failure; a cancelled build’s pod is gone before its status says so', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  const killed = await givenApp(t, server, token, 'killed', 'slow')
  const push = killed.startPush('hypeman', 'main')
  await push.line(/tick 1$/)
  const killPod = async () => {
    const [pid] = await podPids(server.pid)
    assert.ok(pid)
    process.kill(pid, 'SIGKILL')
  }
  await killPod()
  // What the machine breaks is tried once more: the second attempt begins to count anew.
  await push.line(/once more in a new (VM|sandbox)/)
  const ticks = async () => {
    const [build] = (await (await server.api('/builds?app=killed', token)).json()) as Build[]
    const headers = { accept: 'text/plain' }
    const log = await (await server.api(`/builds/${build!.id}/events`, token, { headers })).text()
    return log.match(/tick 1$/gm)?.length
  }
  while ((await ticks()) !== 2) await sleep(100)
  await killPod()
  const result = await push.done
  const lost = await server.build(result.buildId!, token)
  assert.equal(lost.failure_class, 'infra', lost.error)
  assert.match(lost.error ?? '', /(VM|sandbox) ended unexpectedly/)

  const cancelled = await givenApp(t, server, token, 'cancelled', 'slow')
  const second = cancelled.startPush('hypeman', 'main')
  await second.line(/tick 1$/)
  const [build] = (await (await server.api('/builds?app=cancelled', token)).json()) as {
    id: string
  }[]
  const started = Date.now()
  const reply = await server.api(`/builds/${build!.id}`, token, { method: 'DELETE' })
  assert.equal(reply.status, 204)
  assert.deepEqual(await podPids(server.pid), [])
  t.diagnostic(`cancel took ${Date.now() - started} ms`)
  assert.match((await second.done).text, /was cancelled/)
  const ended = await server.build(build!.id, token)
  assert.equal(ended.status, 'cancelled')
  assert.ok(ended.completed_at)
  assert.ok(ended.duration_ms)
  const events = await followEvents(server, build!.id, token)
  assert.equal(events.at(-1)?.status, 'cancelled')
  const again = await server.api(`/builds/${build!.id}`, token, { method: 'DELETE' })
  assert.equal(again.status, 204)
  const finished = await server.api(`/builds/${lost.id}`, token, { method: 'DELETE' })
  assert.equal(finished.status, 409)
  await sleep(200)
  assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
})
