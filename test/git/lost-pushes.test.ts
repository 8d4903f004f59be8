// Pushes that git accepted and whose intake failed, or was never heard of, before another push of the branch came: each
// of them has its build, in the order in which the branch moved.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import type { Repo } from '../helpers/repo.ts'

const MAIN = 'refs/heads/main'

async function givenApp(t: TestContext, settings: object = {}) {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await repo.push('-o', 'detach', 'hypeman', 'main')
  await server.db('apps').update({ settings })
  const first = await repo.git('rev-parse', 'HEAD')
  return { server, repo, first }
}

/** The next commit, pushed while the rows of pushes cannot be written. */
async function losePush({ db }: GitServer, repo: Repo, refspec = 'main'): Promise<string> {
  const commit = await repo.commit(`lost ${Math.random()}`)
  await db.raw(`alter table pushes add constraint broken check (false) not valid`)
  const push = await repo.push('hypeman', refspec)
  await db.raw(`alter table pushes drop constraint broken`)
  assert.equal(push.exitCode, 0, push.text)
  assert.match(push.text, /the push is stored, but its build could not be queued/)
  return commit
}

async function pushNext(repo: Repo): Promise<string> {
  const commit = await repo.commit(`next ${Math.random()}`)
  const push = await repo.push('-o', 'detach', 'hypeman', 'main')
  assert.equal(push.exitCode, 0, push.text)
  return commit
}

/** Commits and builds in the order of their pushes; each push has one build. */
async function pushed({ db }: GitServer) {
  const found = await db('pushes')
    .leftJoin('builds', 'builds.push_id', 'pushes.id')
    .where({ 'pushes.ref': MAIN })
    .orderBy('pushes.seq')
    .select('new_sha', 'old_sha', 'gap', 'builds.id', 'builds.commit', 'status', 'superseded_by')
  for (const [i, row] of found.entries()) {
    assert.equal(row.commit, row.new_sha)
    if (i > 0) assert.equal(row.old_sha, found[i - 1].new_sha)
  }
  return found
}

const commits = (found: { commit: string }[]) => found.map(({ commit }) => commit)

test('a push whose intake failed has its build, though another push came before anybody looked', async (t) => {
  const { server, repo, first } = await givenApp(t)
  const lost = await losePush(server, repo)
  const next = await pushNext(repo)
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal(await server.reconciler.reconcile(), 0)
  const found = await pushed(server)
  assert.deepEqual(commits(found), [first, lost, next])
  assert.ok(found.every(({ gap, status }) => !gap && status === 'queued'))
})

test('the first push of a branch has its build as well, though its intake failed: it had none', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'new')
  const lost = await losePush(server, repo)
  const next = await pushNext(repo)
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.deepEqual(commits(await pushed(server)), [lost, next])
})

test('several lost pushes in a row, forced ones too, have a build each', async (t) => {
  const { server, repo, first } = await givenApp(t)
  const one = await losePush(server, repo)
  const two = await losePush(server, repo)
  await repo.git('reset', '--hard', first)
  const three = await losePush(server, repo, '+main')
  const next = await pushNext(repo)
  const last = await pushNext(repo)
  assert.equal(await server.reconciler.reconcile(), 3)
  assert.deepEqual(commits(await pushed(server)), [first, one, two, three, next, last])
})

test('of lost pushes that nobody has followed up, not only the last has its build', async (t) => {
  const { server, repo, first } = await givenApp(t)
  const one = await losePush(server, repo)
  const two = await losePush(server, repo)
  assert.equal(await server.reconciler.reconcile(), 2)
  assert.deepEqual(commits(await pushed(server)), [first, one, two])
})

test('a branch that moved just before the server was killed has that build, though the next push came first', async (t) => {
  const { server, repo, first } = await givenApp(t)
  const lost = await repo.commit('lost')
  await repo.push('hypeman', 'main:side')
  // git has moved it, and nobody has heard its hook.
  const path = server.repositories.path((await server.app('web')).id)
  await server.git.run(['-C', path, 'update-ref', MAIN, lost])
  const next = await pushNext(repo)
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.deepEqual(commits(await pushed(server)), [first, lost, next])
})

test('a lost push is superseded by the one that followed it, where the app says so', async (t) => {
  const { server, repo } = await givenApp(t, { supersede: 'queued' })
  await losePush(server, repo)
  await pushNext(repo)
  assert.equal(await server.reconciler.reconcile(), 1)
  const [older, lost, next] = await pushed(server)
  assert.deepEqual([older.status, older.superseded_by], ['cancelled', next.id])
  assert.deepEqual([lost.status, lost.superseded_by], ['cancelled', next.id])
  assert.equal(next.status, 'queued')
})

test('a lost push without a Dockerfile is recorded once, and keeps nobody back', async (t) => {
  const { server, repo, first } = await givenApp(t)
  await repo.git('rm', '-q', 'Dockerfile')
  const bare = await losePush(server, repo)
  await repo.write('Dockerfile', 'FROM scratch\n')
  const lost = await losePush(server, repo)
  const next = await pushNext(repo)
  const queued = [await server.reconciler.reconcile(), await server.reconciler.reconcile()]
  assert.deepEqual(queued, [0, 1])
  const pushes = await server.db('pushes').where({ ref: MAIN }).orderBy('seq')
  assert.deepEqual(
    pushes.map(({ new_sha: sha, gap }) => [sha, gap]),
    [first, bare, lost, next].map((sha) => [sha, false]),
  )
})

test('a hook that is heard late fills the gap itself', async (t) => {
  const { server, repo, first } = await givenApp(t)
  const app = await server.app('web')
  const one = await repo.commit('one')
  const two = await repo.commit('two')
  await repo.push('hypeman', 'main:side')
  const path = server.repositories.path(app.id)
  for (const sha of [one, two]) await server.git.run(['-C', path, 'update-ref', MAIN, sha])
  const heard = (oldSha: string, newSha: string) =>
    server.intake.build(
      { app, update: { oldSha, newSha, ref: MAIN }, pusher: 'ada', source: 'push' },
      NO_OPTIONS,
    )
  await heard(one, two)
  await heard(first, one)
  assert.equal(await server.reconciler.reconcile(), 0)
  const found = await pushed(server)
  assert.deepEqual(commits(found), [first, one, two])
  assert.ok(found.every(({ gap }) => !gap))
})
