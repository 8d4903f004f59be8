// What a push hears from its hooks: of a server that stops or is gone, of the queue, of silence, of failure.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { givenBuild } from '../helpers/builds.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'

/** A push in its post-receive hook. */
async function givenFollowedPush(t: TestContext, server: GitServer) {
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const build = await server.untilBuild()
  await push.line(/queued/)
  return { push, build }
}

test('a server that stops says so: the push ends well and the build stays', async (t) => {
  const server = await givenGitServer(t)
  const { push, build } = await givenFollowedPush(t, server)
  await server.hooks.stop()
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0)
  assert.match(text, new RegExp(`warning: the build server stops; ${build.id} goes on`))
  assert.equal((await server.builds())[0]?.status, 'queued')
})

test('without the server nothing is accepted', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await server.hooks.stop()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 1)
  assert.match(text, /error: the build server went away, so the push was not accepted/)
  assert.match(text, /hint: push again/)
  const tip = await server.repositories.tip((await server.app('web')).id, 'refs/heads/main')
  assert.equal(tip, undefined)
})

test('a waiting build shows its position as it changes, and a sign of life in silence', async (t) => {
  const server = await givenGitServer(t, { heartbeatMs: 700 })
  const first = await givenBuild(server.db)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/^ {7}queued, position 2$/)
  await push.line(/^ {7}… queued, position 2 \(\d\.\ds\)$/)
  await server.end(first.id, 'cancelled')
  await push.line(/^ {7}queued, position 1$/)
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await push.line(/^ {7}… starting the builder \(/)
  await server.say(id, { type: 'step', step: { n: 1, name: '[2/4] RUN sleep', state: 'started' } })
  await push.line(/^ {7}… still running: \[2\/4\] RUN sleep \(/)
  await server.end(id, 'ready')
  assert.equal((await push.done).exitCode, 0)
})

test('silence of many seconds does not end the push: git keeps the line alive', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await sleep(12_000)
  await server.say(id, { type: 'log', line: 'after the silence' })
  await server.end(id, 'ready')
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0)
  assert.match(text, /after the silence/)
})

test('a failed build shows the last lines of its step again, the reason and a hint', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const step = { n: 3, name: '[3/3] RUN make' }
  await server.say(
    id,
    { type: 'step', step: { ...step, state: 'started' } },
    { type: 'log', line: 'cc -o x', step: 3 },
    { type: 'log', line: 'boom', step: 3 },
    { type: 'step', step: { ...step, state: 'failed', duration_ms: 1234, error: 'exit code 2' } },
  )
  await server.end(id, 'failed', { failure_class: 'build', error: 'step 3 exited with 2' })
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, 'the branch has moved')
  assert.match(text, /FAILED 1\.2s\n {7}Last lines of \[3\/3\] RUN make:\n {9}cc -o x\n {9}boom\n/)
  assert.match(
    text,
    new RegExp(`error: build ${id} failed: step 3 exited with 2 \\(class build\\)`),
  )
  assert.match(text, /hint: the Dockerfile/)
})
