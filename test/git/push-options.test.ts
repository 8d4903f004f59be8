// What `git push -o` does, and what it says to what it does not know.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenGitServer } from '../helpers/git-server.ts'

test('options reach the build: no-cache, timeout, arguments over those of the app', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/tags/first')
  const settings = { build_args: { MODE: 'dev', KEEP: '1' }, policy: { memory_mb: 1024 } }
  await server.db('apps').update({ settings })
  const options = ['no-cache', 'timeout=900', 'build-arg=MODE=a=b, "c" ä', 'build-arg=NEW=']
  const { exitCode, text } = await repo.push(
    'hypeman',
    ...options.flatMap((option) => ['-o', option]),
    'main',
  )
  assert.equal(exitCode, 0, text)
  assert.doesNotMatch(text, /warning/)
  const { request } = (await server.builds())[0]!
  assert.equal(request.no_cache, true)
  assert.deepEqual(request.build_args, { MODE: 'a=b, "c" ä', KEEP: '1', NEW: '' })
  assert.deepEqual(request.build_policy, { memory_mb: 1024, timeout_seconds: 900 })
  await repo.commit()
  await repo.push('hypeman', 'main')
  assert.deepEqual((await server.builds()).at(-1)?.request.build_args, settings.build_args)
})

test('an unknown option is named with those that are known, and the push goes on', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text } = await repo.push('-o', 'ci.skip', '-o', 'no-cahce', 'hypeman', 'main')
  assert.equal(exitCode, 0)
  const known = 'no-cache, detach, quiet, gate, build-arg=NAME=VALUE, timeout=SECONDS'
  for (const name of ['ci.skip', 'no-cahce']) {
    assert.ok(text.includes(`warning: push option "${name}" is not known; known: ${known}\n`), text)
  }
  assert.equal((await server.builds())[0]?.request.no_cache, undefined)
})

test('a wrong value refuses the push before anything is kept, and says what is wrong', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const cases: [string[], RegExp][] = [
    [['timeout=soon'], /push option "timeout=soon": must be a whole number of seconds/],
    [['timeout'], /push option "timeout": must be a whole number/],
    [['timeout=0'], /push option "timeout=0": must be at least 1/],
    [['timeout=999999999'], /push option "timeout=999999999": must be at most 21600/],
    [['timeout=5', 'timeout=6'], /push option "timeout=6": timeout is given twice/],
    [['build-arg=MODE'], /"build-arg=MODE": must be build-arg=NAME=VALUE/],
    [['build-arg=A-B=1'], /"build-arg=A-B=1": .*must be a build argument name/],
    [['build-arg=BUILDKIT_SYNTAX=x'], /BUILDKIT_\* is reserved/],
    [['build-arg=A=1', 'build-arg=A=2'], /"build-arg=A=2": A is given twice/],
    [['no-cache=yes'], /"no-cache=yes": no-cache takes no value/],
  ]
  for (const [options, message] of cases) {
    const given = options.flatMap((option) => ['-o', option])
    const { exitCode, text } = await repo.push('hypeman', ...given, 'main')
    assert.equal(exitCode, 1, options.join(' '))
    assert.match(text, message)
    assert.match(text, /hint: nothing of this push was kept/)
    assert.match(text, /! \[remote rejected\] main -> main \(a push option is wrong\)/)
  }
  const { id } = await server.app('web')
  assert.equal(await server.repositories.tip(id, 'refs/heads/main'), undefined)
  assert.deepEqual(await server.builds(), [])
})

test('the same flag twice is the flag', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { exitCode } = await repo.push('-o', 'no-cache', '-o', 'no-cache', 'hypeman', 'main')
  assert.equal(exitCode, 0)
  assert.equal((await server.builds())[0]?.request.no_cache, true)
})

test('detach ends the push when its build is queued', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text, buildId } = await repo.push('-o', 'detach', 'hypeman', 'main')
  assert.equal(exitCode, 0)
  assert.match(
    text,
    /-----> Build [a-z0-9]+ queued\n +Detached: the build goes on\.\n +Follow again/,
  )
  const [build] = await server.builds()
  assert.deepEqual([build?.id, build?.status], [buildId, 'queued'])
})

test('a gated push cannot be detached, whether the app or the push asks for the gate', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const asked = await repo.push('hypeman', '-o', 'detach', '-o', 'gate', 'main')
  await server.db('apps').update({ settings: { gate: true } })
  const set = await repo.push('hypeman', '-o', 'detach', 'main')
  for (const { exitCode, text } of [asked, set]) {
    assert.equal(exitCode, 1)
    assert.match(text, /error: push option detach does not go with a gate/)
    assert.match(text, /main -> main \(a gated push cannot be detached\)/)
  }
  const tag = await repo.push('hypeman', '-o', 'detach', 'main:refs/tags/v1')
  assert.equal(tag.exitCode, 0, 'nothing is built')
  assert.deepEqual(await server.builds(), [])
})

test('quiet shows how a build begins and ends, and the last lines of what failed', async (t) => {
  const server = await givenGitServer(t, { heartbeatMs: 200 })
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('-o', 'quiet', 'hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const step = { n: 1, name: '[1/1] RUN make' }
  await server.say(
    id,
    { type: 'log', line: 'Builder VM ready' },
    { type: 'step', step: { ...step, state: 'started' } },
    { type: 'log', line: 'cc -o x', step: 1 },
    { type: 'step', step: { ...step, state: 'failed' } },
  )
  await server.end(id, 'failed', { failure_class: 'build', error: 'it failed' })
  const { text } = await push.done
  assert.match(text, new RegExp(`-----> Build ${id} queued`))
  assert.doesNotMatch(text, /Builder VM ready|Starting the builder|…/)
  assert.match(text, /Last lines of \[1\/1\] RUN make:\n +cc -o x\nerror: build/)
})

test('a flag with an empty value, as go-git sends it, is the flag', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text } = await repo.push('-o', 'no-cache=', 'hypeman', 'main')
  assert.equal(exitCode, 0, text)
  assert.doesNotMatch(text, /warning|error/)
  assert.equal((await server.builds())[0]?.request.no_cache, true)
})
