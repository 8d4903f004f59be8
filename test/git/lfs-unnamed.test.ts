// Git LFS objects that no ref names any more go after a while; never one that some commit or some push still needs.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createLfsNames, type FindLfsNames } from '../../server/git/lfs-names.ts'
import { createLfsRetention } from '../../server/lfs/retention.ts'
import { createUnnamedRetention } from '../../server/lfs/unnamed.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { bodyOf } from '../helpers/http.ts'
import { runPart } from '../helpers/retention.ts'

const oidOf = (text: string) => createHash('sha256').update(text).digest('hex')
const pointer = (text: string, extension = '') =>
  `version https://git-lfs.github.com/spec/v1\n${extension}oid sha256:${oidOf(text)}\nsize ${text.length}\n`

/** An app with `old` in a commit before the last one, `new` in the last one, and `loose` in none. */
async function givenObjects(t: TestContext) {
  const server = await givenGitServer(t)
  server.endAll()
  const { db, lfs } = server
  const repo = await server.givenClient(t, 'web')
  await repo.write('model.bin', pointer('old', `ext-0-zip sha256:${oidOf('zip')}\n`))
  await repo.commit('old')
  await repo.write('model.bin', pointer('new'))
  await repo.commit('new')
  assert.match((await repo.push('hypeman', 'main')).text, /success/)
  const { id: appId } = await server.app('web')
  for (const text of ['old', 'new', 'loose']) {
    const content = (async function* () {
      yield Buffer.from(text)
    })()
    await lfs.add(appId, { oid: oidOf(text), bytes: text.length }, content)
  }
  const lfsNames = createLfsNames(server)
  const texts = new Map(['old', 'new', 'loose'].map((text) => [oidOf(text), text]))
  return {
    server,
    repo,
    appId,
    lfsNames,
    sweep: (names: FindLfsNames = lfsNames, more = {}) =>
      runPart(createUnnamedRetention({ db, lfsNames: names }), more),
    sweepContent: () => runPart(createLfsRetention({ lfs })),
    /** So many days go by. */
    async wait(days: number) {
      await db('lfs_objects').update({
        unnamed_since: db.raw(`unnamed_since - ? * interval '1 day'`, [days]),
      })
    },
    async has() {
      const oids: string[] = await db('lfs_objects').orderBy('created_at').pluck('oid')
      return oids.map((oid) => texts.get(oid))
    },
  }
}

test('an object that no ref names goes after 14 days, its content with it; what an old commit names stays', async (t) => {
  const { server, sweep, sweepContent, wait, has } = await givenObjects(t)
  assert.deepEqual((await sweep()).deleted, [])
  await wait(13)
  assert.deepEqual((await sweep()).deleted, [])
  assert.deepEqual(await has(), ['old', 'new', 'loose'])
  await wait(2)
  const dry = await sweep(undefined, { dryRun: true })
  assert.deepEqual(await has(), ['old', 'new', 'loose'])
  const { deleted, failures } = await sweep()
  assert.deepEqual(failures, [])
  assert.deepEqual(deleted, dry.deleted)
  assert.deepEqual(deleted, [
    {
      kind: 'orphan',
      name: `lfs/${oidOf('loose')} of acme/web`,
      reason: 'no ref has named it for 14 days',
    },
  ])
  assert.deepEqual(await has(), ['old', 'new'])
  assert.equal((await sweepContent()).totals.orphan.count, 1)
  const files = await server.objectFiles()
  assert.equal(files.includes(`${oidOf('loose')}.tar`), false)
  assert.equal(files.includes(`${oidOf('old')}.tar`), true)
})

test('what a force-push leaves unnamed goes, unless another branch or a tag names it, or a ref does again', async (t) => {
  const { repo, sweep, wait, has } = await givenObjects(t)
  await repo.push('hypeman', 'main:refs/heads/dev')
  await repo.git('tag', 'v1', 'main~1')
  await repo.push('hypeman', 'v1')
  const tip = await repo.git('rev-parse', 'main')
  await repo.git('reset', '--quiet', '--hard', 'main~2')
  await repo.commit('another way')
  await repo.push('--force', 'hypeman', 'main')
  const sweepTwice = async () => {
    await sweep()
    await wait(20)
    return sweep()
  }
  await sweepTwice()
  assert.deepEqual(await has(), ['old', 'new'])
  await repo.push('hypeman', ':refs/heads/dev')
  await sweep()
  await wait(20)
  await repo.push('hypeman', `${tip}:refs/heads/again`)
  await sweep()
  assert.deepEqual(await has(), ['old', 'new'])
  await repo.push('hypeman', ':refs/heads/again')
  await sweepTwice()
  assert.deepEqual(await has(), ['old'])
})

test('an object of which a client was told that it is there stays for its push, however long unnamed', async (t) => {
  const { server, sweep, wait, has } = await givenObjects(t)
  await sweep()
  await wait(100)
  const reply = await fetch(`${server.url}/web.git/info/lfs/objects/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await server.token()}` },
    body: JSON.stringify({ operation: 'upload', objects: [{ oid: oidOf('loose'), size: 5 }] }),
  })
  assert.equal((await bodyOf(reply)).objects[0].actions, undefined, 'it need not be sent again')
  await sweep()
  assert.deepEqual(await has(), ['old', 'new', 'loose'])
  await wait(100)
  await sweep()
  assert.deepEqual(await has(), ['old', 'new'])
})

test('while a push is under way, or a ref moves meanwhile, no object goes', async (t) => {
  const { server, appId, lfsNames, sweep, wait, has } = await givenObjects(t)
  await sweep()
  await wait(20)
  await sweep(createLfsNames({ ...server, live: { hasApp: () => true } }))
  assert.deepEqual(await has(), ['old', 'new', 'loose'])

  const gitdir = server.repositories.path(appId)
  const late: FindLfsNames = async (id, signal) => {
    const names = await lfsNames(id, signal)
    await server.git.run(['-C', gitdir, 'update-ref', 'refs/heads/late', 'refs/heads/main'])
    return names
  }
  assert.deepEqual((await sweep(late)).failures, [])
  assert.deepEqual(await has(), ['old', 'new', 'loose'])

  const begun: FindLfsNames = async (id, signal) => {
    let isLive = false
    const names = await createLfsNames({ ...server, live: { hasApp: () => isLive } })(id, signal)
    isLive = true
    return names
  }
  await sweep(begun)
  assert.deepEqual(await has(), ['old', 'new', 'loose'])
  await sweep()
  assert.deepEqual(await has(), ['old', 'new'])
})

test('objects whose repository is not on this machine, or can not be read, stay', async (t) => {
  const { server, appId, sweep, wait, has } = await givenObjects(t)
  await sweep()
  await wait(20)
  const elsewhere = { path: (id: string) => `/nowhere/${id}`, exists: async () => false }
  await sweep(createLfsNames({ ...server, repositories: elsewhere }))
  const gitdir = server.repositories.path(appId)
  const broken = { path: () => gitdir, exists: async () => true }
  const git = {
    run: server.git.run,
    stream: (args: string[], signal: AbortSignal) =>
      server.git.stream([...args, '--no-such-option'], signal),
  }
  const { failures } = await sweep(createLfsNames({ git, repositories: broken, live: server.live }))
  assert.match(failures[0]!.message, /git rev-list ended with 129/)
  assert.deepEqual(await has(), ['old', 'new', 'loose'])
})
