// A tenant whose queue is full: its pushes are refused before a branch moves, and none is lost.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { givenGitServer } from '../helpers/git-server.ts'

test('a push is refused before its branch moves, and goes through when there is room', async (t) => {
  const server = await givenGitServer(t, { queuedMax: 1 })
  const repo = await server.givenClient(t, 'web')
  const first = repo.startPush('hypeman', 'main')
  const { id, commit } = await server.untilBuild()
  await repo.commit('second')
  const refused = await repo.push('hypeman', 'main')
  assert.notEqual(refused.exitCode, 0)
  assert.match(refused.text, /error: 1 builds of acme are queued already, and at most 1 may be/)
  assert.match(refused.text, /hint: cancel some/)
  const { id: appId } = await server.app('web')
  assert.equal(await server.repositories.tip(appId, 'refs/heads/main'), commit)
  // What is not built needs no room.
  assert.equal((await repo.push('hypeman', 'main:feature')).exitCode, 0)
  await server.end(id, 'cancelled')
  await first.done
  server.endAll()
  assert.equal((await repo.push('hypeman', 'main')).exitCode, 0)
  assert.equal((await server.builds()).length, 2)
})

test('a push that meets the full queue after its branch has moved is queued later', async (t) => {
  const server = await givenGitServer(t, { queuedMax: 1 })
  const repo = await server.givenClient(t, 'web')
  const first = repo.startPush('hypeman', 'main')
  const { id, commit: oldSha } = await server.untilBuild()
  await repo.push('hypeman', `${await repo.commit('second')}:refs/heads/side`)
  const app = await server.app('web')
  const newSha = await repo.git('rev-parse', 'HEAD')
  const ref = 'refs/heads/main'
  const update = { oldSha: oldSha!, newSha, ref }
  await server.git.run(['-C', server.repositories.path(app.id), 'update-ref', ref, newSha])
  const moved = { app, update, pusher: 'ada', source: 'push' as const }
  const files = await server.objectFiles()
  await assert.rejects(server.intake.build(moved, NO_OPTIONS), { code: 'queue_full' })
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.deepEqual(await server.objectFiles(), files)
  await server.end(id, 'cancelled')
  await first.done
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal((await server.untilBuild()).commit, newSha)
})
