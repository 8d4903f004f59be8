// A gated push: built before its branch moves. What fails moves nothing, and may be pushed again.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { givenGatedServer } from '../helpers/gate.ts'

const STEP = { n: 5, name: '[4/7] RUN make' }
const FAILURE = {
  failure_class: 'build',
  error: 'step 5 ([4/7] RUN make) failed with exit code 1',
}

test('a gated push whose build fails is rejected with the step, and its branch does not move', async (t) => {
  const { server, repo, tip, buildTags } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id, gate } = await server.untilBuild()
  assert.equal(gate, 'closed')
  await server.move(id, 'queued', 'building')
  await server.say(id, { type: 'step', step: { ...STEP, state: 'started' } })
  await server.say(id, { type: 'log', line: 'cc: no such file', step: 5 })
  await push.line(/^ {7}cc: no such file$/)
  assert.equal(await tip(), undefined, 'not before it has passed')
  await server.end(id, 'failed', FAILURE)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(
    text,
    new RegExp(`! \\[remote rejected\\] main -> main \\(build ${id} failed: step 4/7 exited 1\\)`),
  )
  assert.match(text, new RegExp(`error: build ${id} failed: step 5 .* \\(class build\\)`))
  assert.match(text, /hint: main has not moved; the same commit may be pushed again/)
  assert.doesNotMatch(text, /all the same/)
  assert.equal(await tip(), undefined)
  assert.deepEqual(await buildTags(), [])
  assert.deepEqual(await server.db('pushes').where({ ref: 'refs/heads/main' }), [])
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('the commit of a rejected push may be pushed again, and is built again', async (t) => {
  const { server, repo, tip, buildTags, build } = await givenGatedServer(t)
  const commit = await repo.git('rev-parse', 'HEAD')
  const first = repo.startPush('hypeman', 'main')
  const failed = await server.untilBuild()
  await server.end(failed.id, 'failed', FAILURE)
  assert.equal((await first.done).exitCode, 1)
  const again = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  assert.notEqual(id, failed.id)
  await server.pass(id)
  const { exitCode, text } = await again.done
  assert.equal(exitCode, 0, text)
  assert.match(text, new RegExp(`-----> Build ${id} passed\\n-----> Moving main`))
  assert.match(text, new RegExp(`success: build ${id} ready`))
  assert.ok(text.indexOf('Moving main') < text.indexOf('success:'))
  assert.equal(await tip(), commit)
  const built = await build(id)
  assert.deepEqual([built.status, built.gate], ['ready', 'open'])
  assert.deepEqual(await buildTags(), [`builds/${id}`])
  const [push] = await server.db('pushes').where({ id: built.pushId ?? 0 })
  assert.deepEqual([push.new_sha, push.old_sha, push.source], [commit, '0'.repeat(40), 'push'])
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.equal((await server.builds()).length, 2)
})

test('-o gate gates one push of an app that is not gated; the next is as before', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t, { gate: false })
  const gated = repo.startPush('-o', 'gate', 'hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.end(id, 'failed', FAILURE)
  assert.equal((await gated.done).exitCode, 1)
  assert.equal(await tip(), undefined)
  const plain = repo.startPush('hypeman', 'main')
  const second = await server.untilBuild()
  assert.equal(second.gate, undefined)
  await server.end(second.id, 'failed', FAILURE)
  const { exitCode, text } = await plain.done
  assert.equal(exitCode, 0)
  const commit = await repo.git('rev-parse', 'HEAD')
  assert.equal(await tip(), commit)
  assert.match(text, new RegExp(`hint: main has moved to ${commit.slice(0, 10)} all the same`))
  const command = `-F app=web -F ref=main -F commit=${commit} ${server.url}/builds`
  assert.ok(text.includes(command), `${command} in\n${text}`)
})

test('a gated push of nothing that is built waits for nothing', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  const { exitCode, text } = await repo.push('hypeman', 'main:refs/heads/dev', 'main:refs/tags/v1')
  assert.equal(exitCode, 0, text)
  assert.match(text, /warning: dev is stored but not built/)
  assert.equal(await tip('refs/heads/dev'), await repo.git('rev-parse', 'HEAD'))
  assert.deepEqual(await server.builds(), [])
})

test('what cannot be built is rejected by a gated push at once, and nothing is recorded', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  await repo.git('rm', '--quiet', 'Dockerfile')
  await repo.commit()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 1)
  assert.match(text, /error: dockerfile required/)
  assert.match(text, /hint: nothing was queued, and main has not moved/)
  assert.match(text, /! \[remote rejected\] main -> main \(dockerfile required: /)
  assert.equal(await tip(), undefined)
  assert.deepEqual(await server.db('pushes').where({ ref: 'refs/heads/main' }), [])
  assert.deepEqual(await server.objectFiles(), [])
})

test('several refs: each gated branch moves if its own build passes; tags and deletions move too', async (t) => {
  const { server, repo, tip, build } = await givenGatedServer(t)
  await repo.push('hypeman', 'main:refs/heads/old')
  const commit = await repo.git('rev-parse', 'HEAD')
  const push = repo.startPush(
    'hypeman',
    'main',
    'main:refs/heads/master',
    'main:refs/tags/v2',
    ':old',
  )
  await push.line(/Build [a-z0-9]+ queued/)
  const builds = await server.builds()
  assert.equal(builds.length, 2, 'both are queued before one is watched')
  const [bad, good] = ['refs/heads/main', 'refs/heads/master'].map((ref) =>
    builds.find((build) => build.ref === ref),
  )
  await server.pass(good!.id)
  await server.end(bad!.id, 'failed', FAILURE)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(text, /! \[remote rejected\] main -> main \(build .* failed: step 4\/7 exited 1\)/)
  assert.match(text, /\* \[new branch\] +main -> master/)
  assert.match(text, /- \[deleted\] +old/)
  assert.equal(await tip(), undefined)
  assert.equal(await tip('refs/heads/master'), commit)
  assert.equal(await tip('refs/tags/v2'), commit)
  assert.equal(await tip('refs/heads/old'), undefined)
  assert.equal((await build(good!.id)).status, 'ready')
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('--atomic: when one build fails nothing moves, and the others are cancelled', async (t) => {
  const { server, repo, tip, build, buildTags } = await givenGatedServer(t)
  const refs = ['main', 'main:refs/heads/master', 'main:refs/tags/v2', 'main:refs/heads/dev']
  const push = repo.startPush('--atomic', 'hypeman', ...refs)
  await push.line(/Build [a-z0-9]+ queued/)
  const builds = await server.builds()
  const bad = builds.find(({ ref }) => ref === 'refs/heads/main')
  const good = builds.find(({ ref }) => ref === 'refs/heads/master')
  await server.pass(good!.id)
  await server.end(bad!.id, 'failed', FAILURE)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(text, /! \[remote rejected\] main -> main \(build .* failed: step 4\/7 exited 1\)/)
  const others = /\(atomic push, and refs\/heads\/main was rejected\)/g
  assert.equal(text.match(others)?.length, 3)
  for (const ref of ['heads/main', 'heads/master', 'heads/dev', 'tags/v2']) {
    assert.equal(await tip(`refs/${ref}`), undefined, ref)
  }
  const cancelled = await build(good!.id)
  assert.equal(cancelled.status, 'cancelled')
  assert.match(cancelled.error ?? '', /its push was rejected: atomic push/)
  assert.deepEqual(await buildTags(), [])
})

test('--atomic: no branch is said to move when a later build of the push fails', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  const push = repo.startPush('--atomic', 'hypeman', 'main', 'main:refs/heads/master')
  await push.line(/Build [a-z0-9]+ queued/)
  const builds = await server.builds()
  const ofRef = (name: string) => builds.find(({ ref }) => ref === `refs/heads/${name}`)!.id
  await server.pass(ofRef('main'))
  await push.line(/passed/)
  await server.end(ofRef('master'), 'failed', FAILURE)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.doesNotMatch(text, /moving/i)
  assert.equal(await tip(), undefined)
})

test('--atomic: when all builds pass everything moves', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  const refs = ['main', 'main:refs/heads/master', 'main:refs/tags/v2']
  const push = repo.startPush('--atomic', 'hypeman', ...refs)
  await push.line(/Build [a-z0-9]+ queued/)
  for (const { id } of await server.builds()) await server.pass(id)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, text)
  assert.equal(text.match(/success: build/g)?.length, 2)
  const commit = await repo.git('rev-parse', 'HEAD')
  for (const ref of ['heads/main', 'heads/master', 'tags/v2']) {
    assert.equal(await tip(`refs/${ref}`), commit, ref)
  }
})

test('force: a gated push may rewrite its branch, once it has passed', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  const first = repo.startPush('hypeman', 'main')
  await server.pass((await server.untilBuild()).id)
  await first.done
  await repo.git('commit', '--quiet', '--amend', '-m', 'another')
  const commit = await repo.git('rev-parse', 'HEAD')
  const push = repo.startPush('--force', 'hypeman', 'main')
  const { id } = await server.untilBuild()
  assert.notEqual(await tip(), commit)
  await server.pass(id)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, text)
  assert.match(text, /\+ [0-9a-f.]+ main -> main \(forced update\)/)
  assert.equal(await tip(), commit)
})

test('a shallow clone may push through the gate', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  await repo.commit('second')
  const shallow = await server.givenClient(t, 'web')
  await shallow.git('fetch', '--quiet', '--depth=1', `file://${repo.dir}`, 'main')
  const push = shallow.startPush('hypeman', 'FETCH_HEAD:refs/heads/main')
  await server.pass((await server.untilBuild()).id)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, text)
  assert.equal(await tip(), await repo.git('rev-parse', 'HEAD'))
})

test('a push that is not gated does not pay for the gate: its hook is not started', async (t) => {
  const { server, repo } = await givenGatedServer(t, { gate: false })
  const hook = join(server.root, 'staged/hooks/proc-receive')
  await writeFile(hook, '#!/bin/sh\necho "the gate was asked" >&2\nexit 1\n')
  const gated = await repo.push('-o', 'gate', 'hypeman', 'main')
  assert.match(gated.text, /the gate was asked/)
  assert.equal(gated.exitCode, 1)
  const plain = await repo.push('-o', 'detach', 'hypeman', 'main')
  assert.doesNotMatch(plain.text, /the gate was asked/)
  assert.equal(plain.exitCode, 0)
})
