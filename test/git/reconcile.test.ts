// A branch that moved while nobody looked gets its build, once.
import assert from 'node:assert/strict'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockQueue } from '../../server/builds/queue-room.ts'
import { ZERO_OID } from '../../server/git/pkt-line.ts'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { insertPush } from '../../server/git/push-store.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { until } from '../helpers/until.ts'

/** Moves main in the hosted repository behind the server's back. */
async function moveUnseen(server: GitServer, appName: string): Promise<string> {
  const { id } = await server.app(appName)
  const path = server.repositories.path(id)
  const tip = await server.repositories.tip(id, 'refs/heads/main')
  const identity = ['-c', 'user.name=x', '-c', 'user.email=x@example.invalid']
  const made = ['commit-tree', `${tip}^{tree}`, '-p', tip!, '-m', `unseen ${Math.random()}`]
  const commit = (await server.git.run([...identity, '-C', path, ...made])).trim()
  await server.git.run(['-C', path, 'update-ref', 'refs/heads/main', commit])
  return commit
}

async function givenPushedApp(t: TestContext, name = 'web') {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, name)
  await repo.push('hypeman', 'main')
  return { server, repo }
}

test('a moved tip without a recorded push is queued exactly once, however often it is looked for', async (t) => {
  const { server } = await givenPushedApp(t)
  assert.equal(await server.reconciler.reconcile(), 0)
  const commit = await moveUnseen(server, 'web')
  const rounds = await Promise.all([1, 2, 3].map(() => server.reconciler.reconcile()))
  assert.equal(
    rounds.reduce((sum, n) => sum + n),
    1,
  )
  assert.equal(await server.reconciler.reconcile(), 0)
  const builds = await server.builds()
  assert.equal(builds.length, 2)
  assert.equal(builds.at(-1)?.commit, commit)
  const pushes = await server.db('pushes').orderBy('id')
  assert.deepEqual(
    pushes.map(({ source }) => source),
    ['push', 'reconcile'],
  )
  assert.equal(pushes[1].old_sha, pushes[0].new_sha)
})

test('a branch of an app that has never been seen to be pushed is queued too', async (t) => {
  const { server } = await givenPushedApp(t)
  await server.db('builds').delete()
  await server.db('pushes').delete()
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal((await server.db('pushes').first()).old_sha, ZERO_OID)
})

test('a repository with a push that is not taken in yet is left to its own hook', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  // Its branch moves, and its hook comes no further than this.
  const holder = await server.db.transaction()
  await lockQueue(holder, 'acme')
  const push = repo.startPush('hypeman', 'main')
  const commit = await repo.git('rev-parse', 'HEAD')
  const tip = async () => server.repositories.tip((await server.app('web')).id, 'refs/heads/main')
  await push.line(/Receiving/)
  await until('the branch has moved', async () => (await tip()) === commit)
  assert.equal(await server.reconciler.reconcile(), 0)
  await holder.commit()
  await push.line(/queued/)
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.equal((await server.builds()).length, 1)
  server.endAll()
  await push.done
})

test('a push that is followed for long does not keep the reconciler from its app', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/queued/)
  const commit = await moveUnseen(server, 'web')
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal(server.live.count, 1)
  assert.equal((await server.builds()).at(-1)?.commit, commit)
  server.endAll()
  await push.done
})

test('a move that another has recorded by the time it is archived is not queued', async (t) => {
  const { server } = await givenPushedApp(t)
  const commit = await moveUnseen(server, 'web')
  const app = await server.app('web')
  const update = { oldSha: ZERO_OID, newSha: commit, ref: 'refs/heads/main' }
  const seen = await server.db('pushes').orderBy('id', 'desc').first('id')
  const recovering = server.intake.recover({ app, update, latestPushId: seen.id })
  // By the row that another process inserts while this one reads the repository.
  await server.db.transaction(async (trx) => {
    await trx('apps').where({ id: app.id }).forUpdate().first('id')
    await sleep(500)
    await insertPush(trx, { app, update, pusher: 'ada', source: 'push' })
  })
  assert.equal(await recovering, undefined)
  assert.equal((await server.builds()).length, 1)
})

test('a hook that records the same move first, or a later one, keeps the reconciler from queueing', async (t) => {
  const { server, repo } = await givenPushedApp(t)
  const commit = await moveUnseen(server, 'web')
  const app = await server.app('web')
  const ref = 'refs/heads/main'
  const first = await repo.git('rev-parse', 'HEAD')
  const latest = await server.db('pushes').orderBy('id', 'desc').first('id')
  const update = { oldSha: first, newSha: commit, ref }
  const [recovered, hooked] = await Promise.all([
    server.intake.recover({ app, update, latestPushId: latest.id }),
    server.intake.build({ app, update, pusher: 'ada', source: 'push' }, NO_OPTIONS),
  ])
  assert.equal(hooked.build.id, recovered, 'the hook follows the build that is there')
  assert.equal((await server.builds()).length, 2)
  assert.equal(await server.intake.recover({ app, update, latestPushId: latest.id }), undefined)
  assert.equal((await server.builds()).length, 2)
})

test('two pushes whose hooks are heard in the other order keep the order in which they moved the branch', async (t) => {
  const { server, repo } = await givenPushedApp(t)
  const app = await server.app('web')
  const first = await repo.git('rev-parse', 'HEAD')
  const older = await moveUnseen(server, 'web')
  const middle = await moveUnseen(server, 'web')
  const newer = await moveUnseen(server, 'web')
  const heard = (oldSha: string, newSha: string) =>
    server.intake.build(
      {
        app,
        update: { oldSha, newSha, ref: 'refs/heads/main' },
        pusher: 'ada',
        source: 'push',
      },
      NO_OPTIONS,
    )
  await heard(middle, newer)
  await heard(first, older)
  await heard(older, middle)
  const pushes = await server.db('pushes').orderBy('seq')
  assert.deepEqual(
    pushes.map(({ new_sha }) => new_sha),
    [first, older, middle, newer],
  )
  assert.equal(await server.reconciler.reconcile(), 0, 'the tip is the latest push')
})

test('one broken repository does not keep the others back', async (t) => {
  const { server } = await givenPushedApp(t, 'a-broken')
  const second = await server.givenClient(t, 'b-good')
  await second.push('hypeman', 'main')
  await moveUnseen(server, 'b-good')
  const broken = server.repositories.path((await server.app('a-broken')).id)
  await writeFile(join(broken, 'refs/heads/main'), `${'1'.repeat(40)}\n`)
  assert.equal(await server.reconciler.reconcile(), 1)
  await rm(broken, { recursive: true })
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('a lost push that cannot be built is recorded and not tried for ever', async (t) => {
  const { server } = await givenPushedApp(t)
  await server.db('apps').update({ settings: { dockerfile_path: 'nowhere' } })
  await moveUnseen(server, 'web')
  assert.equal(await server.reconciler.reconcile(), 0)
  const pushes = await server.db('pushes')
  assert.equal(pushes.length, 2)
  await server.db('apps').update({ settings: {} })
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('at the start, what a push of a dead server has left is removed', async (t) => {
  const { server } = await givenPushedApp(t)
  const objects = join(server.repositories.path((await server.app('web')).id), 'objects')
  await mkdir(join(objects, 'tmp_objdir-incoming-abc/pack'), { recursive: true })
  await server.reconciler.start()
  await server.reconciler.stop()
  const left = await readdir(objects)
  assert.ok(!left.some((name) => name.startsWith('tmp_')), left.join())
})
