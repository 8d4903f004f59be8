// What a person with git meets: builds queued, output live, refusals readable.
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDb } from '../../server/db/pool.ts'
import { createAdmission } from '../../server/git/admission.ts'
import { NO_OPTIONS } from '../../server/git/push-options.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { remoteUrl } from '../helpers/repo.ts'

const READY = {
  image_digest: `sha256:${'d'.repeat(64)}`,
  claimed_at: new Date(),
  hello_at: new Date(),
}

test('a push queues a build of its commit, and its output arrives line by line', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const commit = await repo.git('rev-parse', 'HEAD')
  const push = repo.startPush('hypeman', 'main')
  const { id, ...build } = await server.untilBuild()
  assert.equal(build.commit, commit)
  assert.deepEqual(
    [build.ref, build.app, build.tenant, build.pusher],
    ['refs/heads/main', 'web', 'acme', 'ada'],
  )
  assert.equal(build.request.dockerfile_path, 'Dockerfile')
  assert.equal(build.request.source_date_epoch, Number(await repo.git('log', '-1', '--format=%ct')))
  await server.move(id, 'queued', 'building')
  const said: number[] = []
  for (const line of ['eins', 'zwei', 'drei']) {
    await sleep(400)
    said.push(Date.now())
    await server.say(id, { type: 'log', line })
    await push.line(new RegExp(`^       ${line}$`))
    assert.ok(Date.now() - said.at(-1)! < 300, `${line} took ${Date.now() - said.at(-1)!} ms`)
  }
  await server.end(id, 'ready', READY)
  const { exitCode, text, lines } = await push.done
  assert.equal(exitCode, 0)
  assert.match(text, new RegExp(`-----> Receiving ${commit.slice(0, 7)} for web \\(main\\)`))
  assert.match(text, new RegExp(`-----> Build ${id} queued\n +Ctrl-C detaches`))
  assert.match(text, new RegExp(`curl -N .*${server.url}/builds/${id}/events\\?follow=true`))
  assert.match(text, new RegExp(`success: build ${id} ready in .*\\(queue .*\\)`))
  assert.match(text, new RegExp(`tag +builds/${id} -> ${commit.slice(0, 10)}`))
  const times = lines.filter(({ text }) => /eins|zwei|drei/.test(text)).map(({ atMs }) => atMs)
  assert.ok(times[1]! - times[0]! > 300 && times[2]! - times[1]! > 300, String(times))
})

test('the first line is there within the goal of 300 ms of starting to send', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  await repo.commit('warm')
  const { lines } = await repo.push('hypeman', 'main')
  const first = lines.find(({ text }) => text.startsWith('----->'))
  t.diagnostic(`first line after ${first?.atMs} ms`)
  // Generous, because other tests run at the same time; the bench holds the goal itself.
  assert.ok(first && first.atMs < 3_000)
})

test('a branch with a name that looks like packet lengths is built under its whole name', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const token = await server.token()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  await server.db('apps').update({ settings: { deploy_branches: ['release-1001', 'v2.00x'] } })
  const { exitCode } = await repo.push(
    remoteUrl(server.url, token, '/acme/web.git'),
    'main:release-1001',
    'main:v2.00x',
  )
  assert.equal(exitCode, 0)
  const refs = (await server.builds()).map(({ ref }) => ref)
  assert.deepEqual(refs, ['refs/heads/main', 'refs/heads/release-1001', 'refs/heads/v2.00x'])
})

test('a push of several megabytes (probe, chunked) arrives whole and is archived whole', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const noise = Array.from({ length: 5 * 1024 * 128 }, () =>
    Math.random().toString(36).slice(2, 10),
  )
  await repo.write('noise.txt', noise.join(''))
  await repo.commit('noise')
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 0, text)
  const [build] = await server.builds()
  assert.ok(build!.sourceBytes > 5 * 1024 * 1024)
  assert.equal((await server.objectFiles()).length, 1)
})

test('another branch is stored, not built, and the terminal says how to build it', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text } = await repo.push('hypeman', 'main:refs/heads/dev')
  assert.equal(exitCode, 0)
  assert.match(text, /warning: dev is stored but not built; deploy branches: main, master/)
  assert.match(text, /hint: .*git push hypeman dev:main/)
  assert.deepEqual(await server.builds(), [])
  const { id } = await server.app('web')
  const tip = await server.repositories.tip(id, 'refs/heads/dev')
  assert.equal(tip, await repo.git('rev-parse', 'HEAD'))
})

test('deleting a deploy branch is refused with the reason, and another branch can be deleted', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main', 'main:refs/heads/dev')
  const refused = await repo.push('hypeman', ':main')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, /error: main is a deploy branch and cannot be deleted/)
  assert.match(refused.text, /hint: change deploy_branches/)
  const among = await repo.push('hypeman', 'main:refs/heads/other', ':main')
  assert.equal(among.exitCode, 1, 'among other refs')
  const { exitCode, text } = await repo.push('hypeman', ':dev')
  assert.equal(exitCode, 0, text)
  const { id } = await server.app('web')
  assert.notEqual(await server.repositories.tip(id, 'refs/heads/main'), undefined)
  assert.equal(await server.repositories.tip(id, 'refs/heads/dev'), undefined)
})

test('tags of builds belong to the server; other tags are stored and not built', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const forged = await repo.push('hypeman', 'main:refs/tags/builds/abc')
  assert.equal(forged.exitCode, 1)
  assert.match(forged.text, /error: refs\/tags\/builds\/abc is for the server/)
  const { exitCode, text } = await repo.push('hypeman', 'main:refs/tags/v1')
  assert.equal(exitCode, 0)
  assert.match(text, /tags are not built/)
  assert.deepEqual(await server.builds(), [])
})

test('refs that are neither branch nor tag are refused with text, alone and among others', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  for (const refs of [['main:refs/notes/commits'], ['main', 'main:refs/notes/commits']]) {
    const { exitCode, text } = await repo.push('hypeman', ...refs)
    assert.equal(exitCode, 1)
    assert.match(text, /error: refs\/notes\/commits is not hosted here; only branches and tags are/)
    assert.match(text, /\[remote rejected\] main -> refs\/notes\/commits \(not hosted here\)/)
  }
  assert.deepEqual(await server.builds(), [])
})

test('more refs than the limit are refused with text', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const refs = Array.from({ length: 300 }, (_, i) => `main:refs/heads/b${i}`)
  const { exitCode, text } = await repo.push('hypeman', ...refs)
  assert.notEqual(exitCode, 0)
  assert.match(text, /error: more than 256 refs in one push/)
})

test('a missing Dockerfile is said by the push itself, nothing is queued, and nobody tries again', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await repo.git('rm', '--quiet', 'Dockerfile')
  await repo.write('readme', 'nothing to build')
  await repo.commit()
  const began = Date.now()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  t.diagnostic(`said after ${Date.now() - began} ms`)
  assert.equal(exitCode, 0)
  assert.match(
    text,
    /error: dockerfile required: provide dockerfile parameter or include Dockerfile/,
  )
  assert.match(text, /hint: there is no Dockerfile in [0-9a-f]{10}/)
  assert.deepEqual(await server.builds(), [])
  assert.deepEqual(await server.objectFiles(), [])
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.deepEqual(await server.builds(), [])
})

test('a Dockerfile elsewhere is found where the app says, and one left out of archives is missed', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  await server.db('apps').update({ settings: { dockerfile_path: './docker/Build file' } })
  const missing = await repo.commit().then(() => repo.push('hypeman', 'main'))
  assert.match(missing.text, /hint: there is no docker\/Build file in/)
  await mkdir(`${repo.dir}/docker`)
  await repo.write('docker/Build file', 'FROM scratch\n')
  await repo.commit()
  await repo.push('hypeman', 'main')
  assert.equal((await server.builds()).at(-1)?.request.dockerfile_path, 'docker/Build file')
  await repo.write('.gitattributes', '/docker export-ignore\n')
  await repo.commit()
  const ignored = await repo.push('hypeman', 'main')
  assert.match(ignored.text, /error: dockerfile required/)
  assert.match(ignored.text, /hint: \.gitattributes marks docker\/Build file export-ignore/)
  assert.equal((await server.builds()).length, 2)
})

test('a source over the limit is refused with text and leaves nothing in the store', async (t) => {
  const server = await givenGitServer(t, { archiveLimits: { bytesMax: 100_000, entriesMax: 50 } })
  const repo = await server.givenClient(t, 'web')
  await repo.write('big.txt', 'x'.repeat(200_000))
  await repo.commit()
  const big = await repo.push('hypeman', 'main')
  assert.match(big.text, /error: the source is over the limit of 100000 bytes/)
  assert.match(big.text, /hint: .*export-ignore/)
  await repo.git('rm', '--quiet', 'big.txt')
  for (let i = 0; i < 60; i += 1) await repo.write(`file${i}`, String(i))
  await repo.commit()
  const many = await repo.push('hypeman', 'main')
  assert.match(many.text, /error: the source is over the limit of 50 files/)
  assert.deepEqual(await server.objectFiles(), [])
  assert.deepEqual(await server.builds(), [])
})

test('git-lfs pointers that .gitattributes does not know are warned of', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.write(
    'model.bin',
    'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
  )
  await repo.commit()
  const { text } = await repo.push('hypeman', 'main')
  assert.match(text, /warning: the build sees git-lfs pointers: .*model\.bin/)
})

test('a full disk refuses the push before the ref moves', async (t) => {
  const server = await givenGitServer(t, { freeBytesMin: Number.MAX_SAFE_INTEGER })
  const repo = await server.givenClient(t, 'web')
  const refused = await repo.push('hypeman', 'main')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, /error: the build server has \d+ MiB of disk left/)
  const { id } = await server.app('web')
  assert.equal(await server.repositories.tip(id, 'refs/heads/main'), undefined)
})

test('a database that cannot be reached refuses the push, within the deadline', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/heads/dev')
  const app = await server.app('web')
  const principal = { user: 'ada', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' }
  const push = {
    app,
    principal,
    repoPath: '/x',
    clientGone: new AbortController().signal,
    options: NO_OPTIONS,
    isAtomic: false,
    gated: new Map(),
    over: new AbortController(),
  }
  const refs = [{ oldSha: '0'.repeat(40), newSha: '1'.repeat(40), ref: 'refs/heads/main' }]
  const db = createDb('postgres://127.0.0.1:1/nowhere')
  t.after(() => db.destroy())
  const admit = createAdmission({
    db,
    requireRoom: async () => {},
    requireDiskRoom: async () => {},
    databaseDeadlineMs: 300,
  })
  const began = Date.now()
  const refusal = await admit(push, refs)
  assert.match(refusal?.reason ?? '', /cannot reach its database/)
  assert.ok(Date.now() - began < 2_000)
})

test('push options: no-cache reaches the build, an unknown one is named', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { text } = await repo.push('-o', 'no-cache', '-o', 'turbo', 'hypeman', 'main')
  assert.match(text, /warning: push option "turbo" is not known/)
  assert.equal((await server.builds())[0]?.request.no_cache, true)
})

test('a shallow clone may push', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const origin = await server.givenClient(t, 'web')
  await origin.commit('second')
  const repo = await server.givenClient(t, 'web')
  await repo.git('fetch', '--quiet', '--depth=1', `file://${origin.dir}`, 'main')
  const { exitCode, text } = await repo.push('hypeman', 'FETCH_HEAD:refs/heads/main')
  assert.equal(exitCode, 0, text)
  assert.equal((await server.builds()).length, 1)
})

test('two deploy branches in one push are two builds, and both are followed to their end', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { text } = await repo.push('hypeman', 'main', 'main:refs/heads/master')
  assert.equal(text.match(/success: build/g)?.length, 2)
})

test('what was pushed can be fetched, tags of builds included', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const clone = await server.givenClient(t, 'web')
  await clone.git('fetch', '--quiet', 'hypeman', 'main')
  assert.equal(await clone.git('rev-parse', 'FETCH_HEAD'), await repo.git('rev-parse', 'HEAD'))
})

test('a push whose ref has moved when the database goes away is queued when it is back, and loses nothing', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  // In PostgreSQL's own words of a restart, at the moment in which the push is recorded.
  await server.db.raw(`
    create function go_away() returns trigger language plpgsql as $$
    begin raise exception 'the database system is shutting down' using errcode = '57P03'; end $$;
    create trigger go_away before insert on pushes for each row execute function go_away()`)
  const push = repo.startPush('hypeman', '-o', 'detach', 'main')
  await push.line(/^warning: the database of the build server does not answer; waiting for it$/)
  assert.deepEqual(await server.db('builds'), [])
  await server.db.raw('drop trigger go_away on pushes')
  const { exitCode, text, buildId } = await push.done
  assert.equal(exitCode, 0, text)
  const builds = await server.db('builds')
  assert.deepEqual(
    builds.map(({ id, commit }) => [id, commit]),
    [[buildId, await repo.git('rev-parse', 'HEAD')]],
  )
  assert.equal((await server.db('pushes')).length, 1)
})

test('a push whose ref has moved when the server stops is taken in all the same; one that comes later is refused', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const hook = join(server.root, 'staged/hooks/post-receive')
  const go = join(server.root, 'go')
  const original = await readFile(hook, 'utf8')
  const wait = `#!/bin/sh\necho waiting\nwhile ! [ -e ${go} ]; do sleep 0.1; done\n`
  await writeFile(hook, original.replace('#!/bin/sh\n', wait))
  const push = repo.startPush('hypeman', '-o', 'detach', 'main')
  await push.line(/^waiting$/)
  await server.hooks.quiesce()
  await writeFile(go, '')
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, text)
  const builds = await server.db('builds')
  assert.equal(builds.length, 1)
  assert.match(text, new RegExp(`the build server stops; ${builds[0].id} goes on when it is back`))
  await repo.commit()
  const late = await repo.push('hypeman', 'main')
  assert.equal(late.exitCode, 1)
  assert.match(late.text, /^error: the build server stops$/m)
})
