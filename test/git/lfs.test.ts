// Git LFS with its real client: what it keeps for an app is what the app's builds see.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLfsRetention } from '../../server/lfs/retention.ts'
import { createReport } from '../../server/retention/report.ts'
import { silent } from '../helpers/database.ts'
import { CONTENT, givenLfsClient, OID } from '../helpers/git-lfs.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { bodyOf } from '../helpers/http.ts'
import { givenRepo, type Repo } from '../helpers/repo.ts'
import { post, sourceFiles } from '../helpers/sources.ts'

async function lfs(server: GitServer, path: string, init: RequestInit = {}, request = {}) {
  const authorization = `Bearer ${await server.token(request)}`
  return fetch(`${server.url}${path}`, { ...init, headers: { authorization } })
}

const batch = (operation: string, objects: unknown[] = [{ oid: OID, size: CONTENT.length }]) => ({
  method: 'POST',
  body: JSON.stringify({ operation, transfers: ['basic'], objects }),
})

test('what git-lfs keeps is sent with the push, built, and got by a clone', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  await repo.write(
    'plain.txt',
    `version https://git-lfs.github.com/spec/v1\noid sha256:${OID}\nsize 9\n`,
  )
  await repo.commit('a pointer that is none')
  const pushed = await repo.push('hypeman', 'main')
  assert.equal(pushed.exitCode, 0, pushed.text)
  assert.match(pushed.text, /warning: the build sees git-lfs pointers: .* for plain\.txt/)
  assert.doesNotMatch(pushed.text, /locking|locksverify/i)
  const [build] = await server.builds()
  const files = await sourceFiles(server.root, build!)
  assert.equal(files['model.bin'], CONTENT)
  assert.match(files['plain.txt']!, /^version/)
  assert.equal(files.Dockerfile, 'FROM scratch\n')

  const clone = await givenRepo(t)
  await clone.git('lfs', 'install', '--local')
  await clone.git('remote', 'add', 'origin', await repo.git('remote', 'get-url', 'hypeman'))
  await clone.git('pull', '--quiet', 'origin', 'main')
  assert.equal(
    createHash('sha256')
      .update(await read(clone, 'model.bin'))
      .digest('hex'),
    OID,
  )
})

test('long paths, content that was never given to git-lfs and files beside it come as they are', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  const folder = `${'long/'.repeat(30)}${'x'.repeat(120)}`
  await mkdir(join(repo.dir, folder), { recursive: true })
  await repo.write(`${folder}/model.bin`, CONTENT)
  await repo.write(`${folder}/after.txt`, 'after')
  await repo.commit('a long path')
  const raw = ['x', 'y'.repeat(700), 'z'.repeat(5_000)]
  for (const [i, content] of raw.entries()) {
    await repo.write('raw', content)
    const blob = await repo.git('hash-object', '-w', '--no-filters', 'raw')
    await repo.git('update-index', '--add', '--cacheinfo', `100644,${blob},raw${i}.bin`)
  }
  await repo.git('commit', '--quiet', '-m', 'raw content')
  const { text } = await repo.push('hypeman', 'main')
  assert.match(text, /success/)
  const files = await sourceFiles(server.root, (await server.builds())[0]!)
  assert.equal(files[`${folder}/model.bin`], CONTENT)
  assert.equal(files[`${folder}/after.txt`], 'after')
  assert.deepEqual([files['raw0.bin'], files['raw1.bin'], files['raw2.bin']], raw)
  assert.equal(files['model.bin'], CONTENT)
})

test('a missing object is named with its path and what to do; nothing is queued', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  await rm(join(repo.dir, '.git/hooks/pre-push'))
  const { text } = await repo.push('hypeman', 'main')
  assert.match(
    text,
    new RegExp(`error: model\\.bin is kept by git-lfs, and its object ${OID} is not here`),
  )
  assert.match(text, /hint: git lfs push --all hypeman/)
  // "Everything up-to-date" is all that another push would say.
  assert.match(
    text,
    /hint: main has moved to \w{10} all the same, so pushing it again builds nothing/,
  )
  const head = await repo.git('rev-parse', 'HEAD')
  assert.match(text, new RegExp(`-F app=web -F ref=main -F commit=${head} http://\\S+/builds`))
  assert.deepEqual([await server.builds(), await server.objectFiles()], [[], []])

  await repo.git('lfs', 'push', '--all', 'hypeman')
  const reply = await lfs(server, '/builds', post(['app', 'web'], ['ref', 'main']))
  assert.equal(reply.status, 202, JSON.stringify(await bodyOf(reply)))
  const [build] = await server.builds()
  assert.equal((await sourceFiles(server.root, build!))['model.bin'], CONTENT)
})

test('a lost push with git-lfs objects is recovered with their content', async (t) => {
  const server = await givenGitServer(t)
  const repo = await givenLfsClient(t, server)
  await repo.push('hypeman', 'main:refs/heads/dev')
  const { id } = await server.app('web')
  const gitdir = server.repositories.path(id)
  await server.git.run(['-C', gitdir, 'update-ref', 'refs/heads/main', 'refs/heads/dev'])
  assert.equal(await server.reconciler.reconcile(), 1)
  const [build] = await server.builds()
  assert.equal((await sourceFiles(server.root, build!))['model.bin'], CONTENT)
})

test('the limit of a source holds with the objects in it', async (t) => {
  const server = await givenGitServer(t, { archiveLimits: { bytesMax: 200_000, entriesMax: 50 } })
  const repo = await givenLfsClient(t, server)
  const { text } = await repo.push('hypeman', 'main')
  assert.match(text, /error: the source is over the limit of 200000 bytes/)
  assert.deepEqual([await server.builds(), await server.objectFiles()], [[], [`${OID}.tar`]])
})

test('an object is there for the app that has sent it alone, whoever else names it', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await givenLfsClient(t, server)
  await repo.push('hypeman', 'main')
  const other = { tenant: 'other' }
  const make = await server.givenClient(t, 'web', other)
  await make.push('hypeman', 'main:refs/heads/dev')
  const own = await server.givenClient(t, 'second')
  await own.push('hypeman', 'main:refs/heads/dev')
  for (const [app, request] of [
    ['/web.git', other],
    ['/second.git', {}],
  ] as const) {
    const path = `${app}/info/lfs/objects`
    const got = await bodyOf(await lfs(server, `${path}/batch`, batch('download'), request))
    assert.deepEqual(got.objects[0].error.code, 404)
    assert.equal((await lfs(server, `${path}/${OID}`, {}, request)).status, 404)
    const sent = await bodyOf(await lfs(server, `${path}/batch`, batch('upload'), request))
    assert.ok(sent.objects[0].actions.upload.href, 'it has to be sent again')
    const known = { method: 'POST', body: JSON.stringify({ oid: OID, size: CONTENT.length }) }
    assert.equal((await lfs(server, `${path}/verify`, known, request)).status, 404)
  }
  const foreign = '/acme/web.git/info/lfs/objects'
  assert.equal((await lfs(server, `${foreign}/batch`, batch('download'), other)).status, 404)
  assert.equal((await lfs(server, `${foreign}/${OID}`, {}, other)).status, 404)
  assert.equal((await fetch(`${server.url}${foreign}/${OID}`)).status, 401)
})

test('what is not the object that it claims to be is refused, and leaves nothing', async (t) => {
  const server = await givenGitServer(t, { lfsLimits: { objectBytesMax: 100, appBytesMax: 150 } })
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/heads/dev')
  const path = '/web.git/info/lfs/objects'
  const put = async (oid: string, size: number, body: string) => {
    const reply = await lfs(server, `${path}/${oid}/${size}`, { method: 'PUT', body })
    return [reply.status, (await bodyOf(reply)).message]
  }
  const oid = (text: string) => createHash('sha256').update(text).digest('hex')
  assert.deepEqual(await put(OID, 3, 'abc'), [
    400,
    `object ${OID}: what was sent has sha256:${oid('abc')}`,
  ])
  assert.equal((await put(oid('abc'), 4, 'abc'))[0], 400)
  assert.match(String(await put(oid('x'), 101, 'x'.repeat(101))), /413,.* over the limit of 100/)
  assert.deepEqual(await server.objectFiles(), [])
  assert.deepEqual(await server.db('lfs_objects'), [])

  const [a, b] = ['a'.repeat(100), 'b'.repeat(100)]
  assert.equal((await put(oid(a), 100, a))[0], 200)
  assert.match(String(await put(oid(b), 100, b)), /413,the app's git-lfs objects would have 200/)
  const large = await lfs(server, `${path}/batch`, batch('upload', [{ oid: OID, size: 101 }]))
  assert.match((await bodyOf(large)).message, /would have 201 bytes, over the limit of 150/)
  const wrong: [RequestInit, number, RegExp][] = [
    [batch('steal'), 400, /operation/],
    [batch('upload', [{ oid: '../x', size: 1 }]), 400, /oid/],
    [batch('upload', new Array(1_001).fill({ oid: OID, size: 1 })), 413, /1001 objects/],
    [{ method: 'POST', body: '{' }, 400, /not valid JSON/],
    [{ method: 'GET' }, 405, /use POST/],
  ]
  for (const [init, status, message] of wrong) {
    const reply = await lfs(server, `${path}/batch`, init)
    assert.equal(reply.headers.get('content-type'), 'application/vnd.git-lfs+json')
    assert.equal(reply.status, status)
    assert.match((await bodyOf(reply)).message, message)
  }
})

test('objects that no app has any more are removed, and what is sent meanwhile stays', async (t) => {
  const server = await givenGitServer(t)
  const repo = await givenLfsClient(t, server)
  const sweep = async (dryRun = false) => {
    const report = createReport({ log: silent, dryRun })
    const { signal } = new AbortController()
    await createLfsRetention({ lfs: server.lfs }).run({ dryRun, report, signal })
    return report.result().totals.orphan.count
  }
  await repo.git('lfs', 'push', '--all', 'hypeman')
  assert.equal(await sweep(), 0)
  const principal = { user: 'x', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' }
  await server.apps.remove(principal, 'web')
  assert.equal(await sweep(true), 1)
  assert.deepEqual(await server.objectFiles(), [`${OID}.tar`])
  await Promise.all([sweep(), repo.git('lfs', 'push', '--all', 'hypeman')])
  assert.equal(await sweep(), 0)
  assert.deepEqual(await server.objectFiles(), [`${OID}.tar`])
  assert.equal((await server.db('lfs_objects')).length, 1)
  await server.apps.remove(principal, 'web')
  assert.equal(await sweep(), 1)
  assert.deepEqual(await server.objectFiles(), [])
})

async function read({ dir }: Repo, file: string): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of createReadStream(join(dir, file))) parts.push(part as Buffer)
  return Buffer.concat(parts)
}
