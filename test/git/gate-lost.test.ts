// What goes wrong around a gated push: clients and servers that leave, others that are faster. A build is
// never ready without its branch, and none stays behind its gate for ever.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ZERO_OID } from '../../server/git/pkt-line.ts'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { type GatedServer, givenGatedServer } from '../helpers/gate.ts'
import { until } from '../helpers/until.ts'

/** A gated build as a server that died has left it: queued for a push that nobody knows of any more. */
async function givenOrphan({ server, repo }: GatedServer) {
  const side = await repo.push('hypeman', 'main:refs/heads/side')
  assert.equal(side.exitCode, 0)
  const app = await server.app('web')
  const newSha = await repo.git('rev-parse', 'HEAD')
  const update = { oldSha: ZERO_OID, newSha, ref: 'refs/heads/main' }
  const wanted = { app, update, pusher: 'ada', source: 'push' as const }
  const { build } = await server.intake.gate(wanted, NO_OPTIONS)
  const move = () =>
    server.git.run(['-C', server.repositories.path(app.id), 'update-ref', update.ref, newSha])
  return { id: build.id, commit: newSha, move }
}

test('Ctrl-C gives a gated push up: its build is cancelled and its branch stays', async (t) => {
  const { server, repo, tip, build } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  await push.line(/main moves when it has passed. Ctrl-C cancels it, and main stays\.$/)
  const { id } = await server.untilBuild()
  push.interrupt()
  await push.done
  await until('the build is cancelled', async () => (await build(id)).status === 'cancelled')
  assert.match((await build(id)).error ?? '', /the client went away/)
  await until('git has ended', () => server.live.count === 0)
  assert.equal(await tip(), undefined)
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.equal((await server.builds()).length, 1)
})

test('a client that leaves while its build runs is not left with a machine that builds on', async (t) => {
  const { server, repo, build } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await push.line(/Starting the builder/)
  push.interrupt('SIGKILL')
  await push.done
  await until('its worker is asked to stop', async () => {
    return (await build(id)).cancelRequestedAt !== undefined
  })
})

test('a cancelled gated build rejects its push', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.end(id, 'cancelled')
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(text, new RegExp(`main -> main \\(build ${id} was cancelled\\)`))
  assert.equal(await tip(), undefined)
})

test('a server that stops rejects the gated push, and its build does not become ready', async (t) => {
  const { server, repo, tip, build } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await push.line(/queued/)
  await server.hooks.stop()
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(text, /main -> main \(the build server stops; push again when it is back\)/)
  assert.equal(await tip(), undefined)
  assert.equal((await build(id)).status, 'cancelled')
})

test('after a crash a gated build whose branch has not moved is cancelled', async (t) => {
  const gated = await givenGatedServer(t)
  const { id } = await givenOrphan(gated)
  await gated.server.pass(id)
  await gated.server.reconciler.reconcile()
  const { status, error } = await gated.build(id)
  assert.deepEqual(
    [status, error],
    ['cancelled', 'refs/heads/main did not move: its push ended before the build did'],
  )
  assert.deepEqual(await gated.buildTags(), [])
})

test('after a crash behind the move of its branch a gated build becomes ready, once', async (t) => {
  const gated = await givenGatedServer(t)
  const { server, build } = gated
  const { id, commit, move } = await givenOrphan(gated)
  await server.pass(id)
  await move()
  assert.equal(await server.reconciler.reconcile(), 0, 'nothing is built again')
  await until('it is ready', async () => (await build(id)).status === 'ready')
  const [push] = await server.db('pushes').where({ ref: 'refs/heads/main' })
  assert.deepEqual([push.new_sha, push.source], [commit, 'reconcile'])
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('a branch that moved although its gated build never passed is built like a lost push', async (t) => {
  const gated = await givenGatedServer(t)
  const { server, build } = gated
  const { id, commit, move } = await givenOrphan(gated)
  await move()
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal((await build(id)).status, 'cancelled')
  const rebuilt = (await server.builds()).find(({ status }) => status === 'queued')
  assert.deepEqual([rebuilt?.commit, rebuilt?.gate], [commit, undefined])
})

test('a gated build under way is left alone by the reconciler', async (t) => {
  const { server, repo, build } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.equal((await build(id)).status, 'queued')
  await server.pass(id)
  assert.equal((await push.done).exitCode, 0)
})

test('a gated push that begins while the reconciler looks keeps its build', async (t) => {
  const gated = await givenGatedServer(t)
  const { server, build } = gated
  const { id } = await givenOrphan(gated)
  const app = await server.app('web')
  let looks = 0
  await server.gates.settleApp(app, () => {
    looks += 1
    return looks > 1
  })
  assert.equal((await build(id)).status, 'queued')
  await server.gates.settleApp(app, () => false)
  assert.equal((await build(id)).status, 'cancelled')
})

test('of two gated pushes to one branch the slower is rejected, and its build is not ready', async (t) => {
  const { server, repo, tip, build, buildTags } = await givenGatedServer(t)
  const first = repo.startPush('hypeman', 'main')
  const slow = await server.untilBuild()
  const second = await repo.commit('second')
  const faster = repo.startPush('hypeman', 'main')
  await faster.line(/Build [a-z0-9]+ queued/)
  const fast = (await server.builds()).find(({ id }) => id !== slow.id)!
  await server.pass(fast.id)
  assert.equal((await faster.done).exitCode, 0)
  await server.pass(slow.id)
  const { exitCode, text } = await first.done
  assert.equal(exitCode, 1)
  assert.match(
    text,
    new RegExp(`main -> main \\(main moved to ${second.slice(0, 10)} meanwhile\\)`),
  )
  assert.match(text, /hint: fetch, then push again/)
  assert.equal(await tip(), second)
  assert.equal((await build(slow.id)).status, 'cancelled')
  assert.deepEqual(await buildTags(), [`builds/${fast.id}`])
})

test('a branch that is locked when its build has passed does not move, and the build is not ready', async (t) => {
  const { server, repo, tip, build } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  const path = server.repositories.path((await server.app('web')).id)
  await writeFile(`${path}/refs/heads/main.lock`, '')
  await server.pass(id)
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 1)
  assert.match(text, /! \[remote rejected\] main -> main \(failed to update ref\)/)
  assert.equal(await tip(), undefined)
  await until('it is cancelled', async () => (await build(id)).status === 'cancelled')
})

test('a gate whose opening was done and whose answer was lost is open when it is asked again, with one push', async (t) => {
  const gated = await givenGatedServer(t)
  const { server } = gated
  const { id, commit, move } = await givenOrphan(gated)
  await server.pass(id)
  await move()
  const update = { oldSha: ZERO_OID, newSha: commit, ref: 'refs/heads/main' }
  const moved = { app: await server.app('web'), update, pusher: 'ada', source: 'push' as const }
  assert.equal(await server.gates.open(id, moved), true)
  assert.equal(await server.gates.open(id, moved), true)
  assert.equal((await server.db('pushes').where({ ref: update.ref })).length, 1)
})

test('the database lets no build be ready behind its gate', async (t) => {
  const gated = await givenGatedServer(t)
  const { id } = await givenOrphan(gated)
  await assert.rejects(gated.server.end(id, 'ready'), /violates check constraint/)
})

test('silence in a gated build does not end the push: git keeps the line alive', async (t) => {
  const { server, repo } = await givenGatedServer(t)
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await sleep(11_000)
  await server.pass(id)
  assert.equal((await push.done).exitCode, 0)
})
