// The tag a ready build puts on its commit: annotated, the git user's own, written once.
import assert from 'node:assert/strict'
import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { FLUSH, pkt } from '../../server/git/pkt-line.ts'
import { tagCommit } from '../../server/git/tags.ts'
import { createImageStore } from '../../server/retention/image-store.ts'
import { givenGatedServer } from '../helpers/gate.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { post, pushBody } from '../helpers/git-wire.ts'
import { CLEAN, makeRepo } from '../helpers/repo.ts'

async function givenPushed(t: TestContext) {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const gitdir = server.repositories.path((await server.app('web')).id)
  const commit = await repo.git('rev-parse', 'HEAD')
  const tag = { gitdir, commit, user: server.user, message: 'image: x\n\ndigest: y\n' }
  return { server, repo, gitdir, commit, tag }
}

test('a tag is annotated, says what it was given, is on the commit and can be fetched', async (t) => {
  const { repo, commit, tag } = await givenPushed(t)
  await tagCommit({ ...tag, name: 'builds/abc', when: new Date(1_700_000_000_000) })
  await repo.git('fetch', '--quiet', 'hypeman', 'refs/tags/builds/*:refs/tags/builds/*')
  assert.equal(await repo.git('rev-parse', 'builds/abc^{commit}'), commit)
  assert.equal(await repo.git('cat-file', '-t', 'builds/abc'), 'tag')
  const content = await repo.git('cat-file', 'tag', 'builds/abc')
  assert.match(content, /^tag builds\/abc$/m)
  assert.match(content, /^tagger hypeman <[^>]+> 1700000000 \+0000$/m)
  assert.ok(content.includes('image: x\n\ndigest: y'))
  await repo.git('fsck', '--strict')
})

test('writing a tag again changes nothing; for another commit it is an error', async (t) => {
  const { server, repo, tag } = await givenPushed(t)
  await tagCommit({ ...tag, name: 'builds/abc', when: new Date(1_700_000_000_000) })
  const id = (await server.app('web')).id
  const before = await server.repositories.tip(id, 'refs/tags/builds/abc')
  await tagCommit({ ...tag, name: 'builds/abc', message: 'another' })
  assert.equal(await server.repositories.tip(id, 'refs/tags/builds/abc'), before)
  const other = await repo.commit('other')
  await repo.push('hypeman', 'main')
  await assert.rejects(
    tagCommit({ ...tag, name: 'builds/abc', commit: other }),
    /the tag builds\/abc is on [0-9a-f]{40} already/,
  )
})

test('all of a repository stays the git user’s, and pushes go on after many tags', async (t) => {
  const { server, repo, gitdir, tag } = await givenPushed(t)
  for (let i = 0; i < 30; i += 1) await tagCommit({ ...tag, name: `builds/n${i}` })
  const owner = server.user?.uid ?? process.getuid?.()
  for (const entry of await readdir(gitdir, { recursive: true })) {
    assert.equal((await stat(join(gitdir, entry))).uid, owner, entry)
  }
  for (let i = 0; i < 3; i += 1) {
    await repo.write('file', String(i))
    await repo.commit()
    assert.equal((await repo.push('hypeman', 'main')).exitCode, 0)
  }
})

test('a link in the repository does not lead a tag out of it', async (t) => {
  const { server, gitdir, tag } = await givenPushed(t)
  const outside = join(server.root, 'outside')
  await mkdir(outside)
  await rm(join(gitdir, 'refs/tags'), { recursive: true })
  await symlink(outside, join(gitdir, 'refs/tags'))
  await assert.rejects(tagCommit({ ...tag, name: 'builds/abc' }), /leads out of the repository/)
  assert.deepEqual(await readdir(outside), [])
})

test('the tags of old builds are removed, packed or not, those of others stay', async (t) => {
  const { server, gitdir, tag } = await givenPushed(t)
  const { id } = await server.app('web')
  for (const name of ['one', 'two', 'three']) await tagCommit({ ...tag, name: `builds/${name}` })
  await server.git.run(['-C', gitdir, 'pack-refs', '--all'])
  await tagCommit({ ...tag, name: 'builds/four' })
  await server.repositories.removeBuildTags(id, ['one', 'four', 'never'])
  await server.repositories.removeBuildTags(id, ['one'])
  await server.repositories.removeBuildTags('noapp', ['one'])
  const left = await server.git.run([
    '-C',
    gitdir,
    'for-each-ref',
    '--format=%(refname)',
    'refs/tags',
  ])
  const [two, three] = ['refs/tags/builds/two', 'refs/tags/builds/three']
  const ours = left.split('\n').filter((ref) => [two, three].includes(ref) || /one|four/.test(ref))
  assert.deepEqual(ours.sort(), [three, two])
  await tagCommit({ ...tag, name: 'builds/one' })
})

test('a branch that was deleted no longer keeps its last image', async (t) => {
  const { server, repo } = await givenPushed(t)
  const { id } = await server.app('web')
  const store = createImageStore({ db: server.db })
  await repo.git('push', 'hypeman', 'HEAD:refs/heads/topic')
  const refs = ['refs/heads/main', 'refs/heads/topic', 'refs/heads/never']
  assert.deepEqual(await store.endedRefs(id, refs), [])
  await repo.git('push', 'hypeman', ':refs/heads/topic')
  assert.deepEqual(await store.endedRefs(id, refs), ['refs/heads/topic'])
  await repo.git('push', 'hypeman', 'HEAD:refs/heads/topic')
  assert.deepEqual(await store.endedRefs(id, refs), [])
})

/** A clone that has fetched the tag of a build, and has a tag of its own. */
async function givenFetchedTag(t: TestContext) {
  const given = await givenPushed(t)
  const { server, repo, tag } = given
  await tagCommit({ ...tag, name: 'builds/abc' })
  await tagCommit({ ...tag, name: 'builds/abcdef' })
  await repo.git('fetch', '--quiet', 'hypeman', 'refs/tags/builds/*:refs/tags/builds/*')
  await repo.git('tag', 'v1')
  const { id } = await server.app('web')
  const tip = (name: string) => server.repositories.tip(id, `refs/tags/${name}`)
  const pushes = () => server.db('pushes').where({ app_id: id }).orderBy('id').pluck('ref')
  return { ...given, tip, pushes }
}

for (const options of [[], ['--atomic']]) {
  const how = options.length === 0 ? '' : ', atomic too'
  test(`push --tags after a fetch of the tags of builds pushes the clone’s own tags${how}`, async (t) => {
    const { repo, tip, pushes } = await givenFetchedTag(t)
    const names = ['builds/abc', 'builds/abcdef']
    const before = await Promise.all(names.map(tip))
    const { exitCode, text } = await repo.push('hypeman', '--tags', ...options)
    assert.equal(exitCode, 0, text)
    assert.equal(await tip('v1'), await repo.git('rev-parse', 'v1'))
    assert.deepEqual(await Promise.all(names.map(tip)), before)
    assert.doesNotMatch(text, /Receiving .*builds/)
    assert.equal((await pushes()).at(-1), 'refs/tags/v1')
    assert.ok((await pushes()).every((ref) => !ref.includes('builds/')))
  })
}

test('a gated push takes the tags of builds along, and they stay what they are', async (t) => {
  const { server, repo, buildTags } = await givenGatedServer(t)
  const first = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.pass(id)
  assert.equal((await first.done).exitCode, 0)
  await repo.git('fetch', '--quiet', 'hypeman', 'refs/tags/*:refs/tags/*')
  await repo.git('tag', 'v1')
  await repo.commit('next')
  const second = repo.startPush('hypeman', '--tags', 'main')
  const next = await server.untilBuild()
  await server.pass(next.id)
  const { exitCode, text } = await second.done
  assert.equal(exitCode, 0, text)
  assert.deepEqual((await buildTags()).toSorted(), [`builds/${id}`, `builds/${next.id}`].toSorted())
  const { id: appId } = await server.app('web')
  assert.notEqual(await server.repositories.tip(appId, 'refs/tags/v1'), undefined)
})

test('a push of nothing but known tags of builds changes nothing, from a shallow clone too', async (t) => {
  const { server, repo, tip, pushes } = await givenFetchedTag(t)
  const before = [await tip('builds/abc'), await tip('builds/abcdef'), await pushes()]
  const all = await repo.push('hypeman', 'refs/tags/builds/abc', 'refs/tags/builds/abcdef')
  assert.equal(all.exitCode, 0, all.text)
  const dir = join(server.root, 'shallow')
  const url = await repo.git('remote', 'get-url', 'hypeman')
  await execa('git', ['clone', '--quiet', '--depth=1', url, dir], { env: CLEAN })
  const shallow = await makeRepo(dir)
  await shallow.git('fetch', '--quiet', '--depth=1', 'origin', 'refs/tags/*:refs/tags/*')
  const again = await shallow.push('origin', 'refs/tags/builds/abc', 'refs/tags/builds/abcdef')
  assert.equal(again.exitCode, 0, again.text)
  assert.deepEqual([await tip('builds/abc'), await tip('builds/abcdef'), await pushes()], before)
})

test('a tag of a build that was moved, made or deleted by a client refuses its whole push', async (t) => {
  const { repo, tip } = await givenFetchedTag(t)
  const before = await tip('builds/abc')
  await repo.commit('next')
  for (const refs of [
    ['+HEAD:refs/tags/builds/abc'],
    ['HEAD:refs/tags/builds/other'],
    ['refs/tags/builds/abc:refs/tags/builds/other'],
    [':refs/tags/builds/abc'],
    ['refs/tags/builds/abcdef', '+HEAD:refs/tags/builds/abc'],
  ]) {
    const { exitCode, text } = await repo.push('hypeman', 'refs/tags/v1', ...refs)
    assert.equal(exitCode, 1, refs.join(' '))
    assert.match(text, /error: refs\/tags\/builds\/\w+ is for the server/)
    assert.equal(await tip('v1'), undefined)
    assert.equal(await tip('builds/abc'), before)
    assert.equal(await tip('builds/other'), undefined)
  }
})

test('a tag of a build that is said to be what it is not stays what it is', async (t) => {
  const { server, repo, commit, tip } = await givenFetchedTag(t)
  const token = await server.token()
  const lines = ['abc', 'other'].map((name) => `${commit} ${commit} refs/tags/builds/${name}`)
  const [first, ...others] = lines
  const { pack } = await pushBody(repo)
  const { req, reply } = post(`${server.url}/web.git/git-receive-pack`, token)
  req.end(Buffer.concat([pkt(`${first}\0 report-status`), ...others.map(pkt), FLUSH, pack]))
  const { status, text } = await reply
  assert.equal(status, 200)
  for (const name of ['abc', 'other']) assert.match(text, new RegExp(`ng refs/tags/builds/${name}`))
  assert.notEqual(await tip('builds/abc'), commit)
  assert.equal(await tip('builds/other'), undefined)
})
