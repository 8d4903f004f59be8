// The tag a ready build puts on its commit: annotated, the git user's own, written once.
import assert from 'node:assert/strict'
import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { tagCommit } from '../../server/git/tags.ts'
import { createImageStore } from '../../server/retention/image-store.ts'
import { givenGitServer } from '../helpers/git-server.ts'

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
