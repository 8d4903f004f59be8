// A gated push is a newer push of its branch from the moment its branch has moved, and not before.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { givenGatedServer } from '../helpers/gate.ts'

const FAILURE = { failure_class: 'build', error: 'no' }

/** A build of an ungated push, and a gated push of the next commit under way. */
async function givenOlder(t: TestContext, supersede: 'queued' | 'running', isRunning: boolean) {
  const { server, repo, build, tip } = await givenGatedServer(t, { gate: false })
  await server.db('apps').update({ settings: { supersede } })
  await repo.push('-o', 'detach', 'hypeman', 'main')
  const older = await server.untilBuild()
  if (isRunning) await server.move(older.id, 'queued', 'building')
  const commit = await repo.commit('next')
  const push = repo.startPush('-o', 'gate', 'hypeman', 'main')
  await push.line(/Build [a-z0-9]+ queued/)
  const newer = (await server.builds()).find(({ gate }) => gate === 'closed')!
  return { server, build, tip, commit, push, older, newer }
}

test('a queued build is superseded when the gated push has moved its branch, not while it is built', async (t) => {
  const { server, build, push, older, newer } = await givenOlder(t, 'queued', false)
  assert.equal((await build(older.id)).status, 'queued')
  await server.pass(newer.id)
  assert.equal((await push.done).exitCode, 0)
  const superseded = await build(older.id)
  assert.deepEqual([superseded.status, superseded.supersededBy], ['cancelled', newer.id])
  assert.equal((await build(newer.id)).status, 'ready')
})

test('a running build is asked to stop by the gated push that moves its branch, where running ones are superseded', async (t) => {
  const { server, build, push, older, newer } = await givenOlder(t, 'running', true)
  assert.equal((await build(older.id)).cancelRequestedAt, undefined)
  await server.pass(newer.id)
  assert.equal((await push.done).exitCode, 0)
  const asked = await build(older.id)
  assert.equal(asked.supersededBy, newer.id)
  assert.ok(asked.cancelRequestedAt)
})

test('a gated push whose build fails supersedes nothing', async (t) => {
  const { server, build, push, older, newer, tip, commit } = await givenOlder(t, 'running', false)
  await server.end(newer.id, 'failed', FAILURE)
  assert.equal((await push.done).exitCode, 1)
  assert.notEqual(await tip(), commit)
  const spared = await build(older.id)
  assert.deepEqual([spared.status, spared.supersededBy], ['queued', undefined])
})

test('a plain push leaves the build of a gated one alone, which is then told that its branch has moved', async (t) => {
  const { server, repo, build } = await givenGatedServer(t, { gate: false })
  await server.db('apps').update({ settings: { supersede: 'running' } })
  const gated = repo.startPush('-o', 'gate', 'hypeman', 'main')
  const { id } = await server.untilBuild()
  const other = await server.givenClient(t, 'web')
  await other.write('other', 'x')
  await other.commit('other')
  const plain = await other.push('-o', 'detach', 'hypeman', 'main')
  assert.equal(plain.exitCode, 0, plain.text)
  assert.deepEqual(
    [(await build(id)).status, (await build(id)).supersededBy],
    ['queued', undefined],
  )
  await server.pass(id)
  const { exitCode, text } = await gated.done
  assert.equal(exitCode, 1)
  assert.match(text, /! \[remote rejected\] main -> main \(main moved to [0-9a-f]{10} meanwhile\)/)
  assert.equal((await build(id)).status, 'cancelled')
})
