// Git LFS where OBJECTS is a bucket: its objects are in the bucket alone, and whoever has the bucket has them.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLfsRetention } from '../../server/lfs/retention.ts'
import { createLfsStore } from '../../server/lfs/store.ts'
import { below, openObjects } from '../../server/objects/location.ts'
import { createReport } from '../../server/retention/report.ts'
import { silent } from '../helpers/database.ts'
import { CONTENT, givenLfsClient, OID } from '../helpers/git-lfs.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { givenObjectStorage } from '../helpers/object-storage.ts'
import { post, storedFiles } from '../helpers/sources.ts'

async function givenServerWithBucket(t: TestContext) {
  const storage = await givenObjectStorage(t)
  const objects = { kind: 's3' as const, ...storage.settings, prefix: 'prod/' }
  const server = await givenGitServer(t, { objects })
  const stored = async (folder: string) => readdir(join(storage.bucketFolder, 'prod', folder))
  const file = join(storage.bucketFolder, `prod/lfs/sources/${OID}.tar`)
  return { storage, objects, server, stored, file }
}

test('in a bucket: objects are sent, built, got by a clone, and no file of this machine has them', async (t) => {
  const { objects, server, stored } = await givenServerWithBucket(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  const pushed = await repo.push('hypeman', 'main')
  assert.match(pushed.text, /success/)
  const [build] = await server.builds()
  assert.equal((await storedFiles(server.objects, build!))['model.bin'], CONTENT)
  assert.deepEqual(await stored('lfs/sources'), [`${OID}.tar`])
  assert.deepEqual(await stored('lfs/incoming').catch(() => []), [])
  assert.deepEqual(await server.objectFiles(), [])
  assert.deepEqual(await readdir(join(server.root, 'lfs')).catch(() => []), [])

  await rm(join(repo.dir, '.git/lfs'), { recursive: true })
  await rm(join(repo.dir, 'model.bin'))
  await repo.git('lfs', 'pull', 'hypeman')
  assert.equal(await repo.git('lfs', 'fsck').then(() => 'ok'), 'ok')

  // As after a new disk: nothing but the database and the bucket.
  const temporary = await mkdtemp(join(tmpdir(), 'hm-lfs-'))
  t.after(() => rm(temporary, { recursive: true, force: true }))
  const fresh = await openObjects(below(objects, 'lfs'), { temporary, log: silent })
  t.after(fresh.close)
  const lfs = createLfsStore({ db: server.db, objects: fresh.objects, log: silent })
  const file = await lfs.open((await server.app('web')).id, OID, AbortSignal.timeout(60_000))
  const parts: Uint8Array[] = []
  for await (const part of file!.content) parts.push(part)
  assert.equal(Buffer.concat(parts).toString(), CONTENT)
  assert.deepEqual(await readdir(temporary), [])
})

test('in a bucket: what was changed or is gone is named, and sent again', async (t) => {
  const { server, file } = await givenServerWithBucket(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  await repo.git('lfs', 'push', '--all', 'hypeman')
  for (const harm of [() => writeFile(file, `W${CONTENT.slice(1)}`), () => rm(file)]) {
    await harm()
    const refused = await repo.push('hypeman', 'main')
    assert.match(refused.text, new RegExp(`its object ${OID} was lost by the server's storage`))
    await repo.git('lfs', 'push', '--all', 'hypeman')
    await repo.commit('again')
  }
  const { text } = await repo.push('hypeman', 'main')
  assert.match(text, /success/)
  const [build] = await server.builds()
  assert.equal((await storedFiles(server.objects, build!))['model.bin'], CONTENT)
})

test('in a bucket: objects go with their app, and what was not kept does not stay', async (t) => {
  const { server, stored } = await givenServerWithBucket(t)
  const repo = await givenLfsClient(t, server)
  await repo.git('lfs', 'push', '--all', 'hypeman')
  const authorization = `Bearer ${await server.token()}`
  const wrong = await fetch(`${server.url}/web.git/info/lfs/objects/${'0'.repeat(64)}/3`, {
    method: 'PUT',
    body: 'abc',
    headers: { authorization },
  })
  assert.equal(wrong.status, 400)
  assert.deepEqual(await stored('lfs/sources'), [`${OID}.tar`])
  assert.deepEqual(await stored('lfs/incoming').catch(() => []), [])
  const principal = { user: 'x', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' }
  await server.apps.remove(principal, 'web')
  const report = createReport({ log: silent, dryRun: false })
  const { signal } = new AbortController()
  await createLfsRetention({ lfs: server.lfs }).run({ dryRun: false, report, signal })
  assert.equal(report.result().totals.orphan.count, 1)
  assert.deepEqual(await stored('lfs/sources').catch(() => []), [])
})

test('a bucket that is away refuses a build with its name, and counts no object as lost', async (t) => {
  const { storage, server } = await givenServerWithBucket(t)
  const repo = await givenLfsClient(t, server)
  await repo.git('lfs', 'push', '--all', 'hypeman')
  await repo.push('hypeman', 'main:refs/heads/dev')
  await storage.stop()
  const authorization = `Bearer ${await server.token()}`
  const form = post(['app', 'web'], ['ref', 'dev'])
  const reply = await fetch(`${server.url}/builds`, { ...form, headers: { authorization } })
  assert.equal(reply.status, 503)
  assert.match(await reply.text(), /objects_unavailable.*bucket builds/)
  assert.deepEqual(await server.db('lfs_objects').whereNotNull('lost_at'), [])
})
