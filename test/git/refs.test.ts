// Every kind of ref a push may move: what the terminal says, and what is stored.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'

async function givenWeb(t: TestContext, settings?: object) {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  const { exitCode, text } = await repo.push('hypeman', 'main:refs/tags/first')
  assert.equal(exitCode, 0, text)
  if (settings) await server.db('apps').update({ settings })
  return { server, repo }
}

/** All refs of the app, as `name commit`; tags of builds are left out. */
async function refsOf(server: GitServer): Promise<string[]> {
  const path = server.repositories.path((await server.app('web')).id)
  const listed = await server.git.run(['-C', path, 'for-each-ref', '--format=%(refname)'])
  return listed.split('\n').filter((ref) => ref !== '' && !ref.startsWith('refs/tags/builds/'))
}

const builtRefs = async (server: GitServer) => (await server.builds()).map(({ ref }) => ref)

test('branch_policy reject: another branch is refused with the command that builds it', async (t) => {
  const { server, repo } = await givenWeb(t, { branch_policy: 'reject' })
  const { exitCode, text } = await repo.push('hypeman', 'main', 'main:refs/heads/dev')
  assert.equal(exitCode, 1)
  assert.match(text, /error: dev is not a deploy branch of this app; those are main, master/)
  assert.match(text, /hint: to build it: git push hypeman dev:main/)
  assert.match(text, /! \[remote rejected\] main -> dev \(dev is not a deploy branch/)
  assert.match(text, /! \[remote rejected\] main -> main \(refused with the other refs\)/)
  assert.deepEqual(await refsOf(server), ['refs/tags/first'])
  assert.equal((await repo.push('hypeman', 'main')).exitCode, 0)
})

test('branch_policy build: every branch is built, also one that moved while nobody looked', async (t) => {
  const { server, repo } = await givenWeb(t, { branch_policy: 'build' })
  const { exitCode, text } = await repo.push('hypeman', 'main:refs/heads/feature/x')
  assert.equal(exitCode, 0)
  assert.match(text, /success: build/)
  assert.deepEqual(await builtRefs(server), ['refs/heads/feature/x'])
  const path = server.repositories.path((await server.app('web')).id)
  const tip = await repo.git('rev-parse', 'HEAD')
  await server.git.run(['-C', path, 'update-ref', 'refs/heads/unseen', tip])
  assert.equal(await server.reconciler.reconcile(), 1)
  assert.equal(await server.reconciler.reconcile(), 0)
  assert.deepEqual(await builtRefs(server), ['refs/heads/feature/x', 'refs/heads/unseen'])
})

test('tags, lightweight and annotated, are stored as they are, moved by force and deleted', async (t) => {
  const { server, repo } = await givenWeb(t)
  await repo.git('tag', 'light')
  await repo.git('tag', '-a', 'heavy', '-m', 'release')
  const { exitCode, text } = await repo.push('hypeman', '--tags')
  assert.equal(exitCode, 0, text)
  assert.equal(text.match(/Stored; tags are not built/g)?.length, 2)
  const path = server.repositories.path((await server.app('web')).id)
  const type = (ref: string) => server.git.run(['-C', path, 'cat-file', '-t', ref])
  assert.deepEqual([await type('light'), await type('heavy')], ['commit', 'tag'])
  await repo.commit('second')
  await repo.git('tag', '-f', 'light')
  assert.equal((await repo.push('hypeman', 'light')).exitCode, 1, 'a tag does not move by itself')
  assert.equal((await repo.push('--force', 'hypeman', 'light')).exitCode, 0)
  const { id } = await server.app('web')
  const tip = await server.repositories.tip(id, 'refs/tags/light')
  assert.equal(tip, await repo.git('rev-parse', 'HEAD'))
  const deleted = await repo.push('hypeman', ':refs/tags/light', ':refs/tags/heavy')
  assert.equal(deleted.exitCode, 0, deleted.text)
  assert.deepEqual(await refsOf(server), ['refs/tags/first'])
  assert.deepEqual(await server.builds(), [])
})

test('branch names that look like packet lengths, sizes, options or shell are branches like any other', async (t) => {
  const names = ['a00b', '0000', '0008', '00', 'release-1001', '1e10', '-0', 'x;id', "it's"]
  const { server, repo } = await givenWeb(t, { branch_policy: 'build' })
  const accepted = names.filter((name) => name !== '-0')
  const refs = accepted.map((name) => `main:refs/heads/${name}`)
  const { exitCode, text } = await repo.push('hypeman', ...refs)
  assert.equal(exitCode, 0, text)
  assert.equal(text.match(/success: build/g)?.length, accepted.length)
  assert.deepEqual((await builtRefs(server)).sort(), accepted.map((n) => `refs/heads/${n}`).sort())
  assert.match(text, /-----> Receiving [0-9a-f]{7} for web \(a00b\)/)
})

test('names in other scripts are stored, built, shown and fetched as they are', async (t) => {
  const { server, repo } = await givenWeb(t)
  await server.db('apps').update({ settings: { deploy_branches: ['ветка/функция'] } })
  const refs = ['main:refs/heads/ветка/функция', 'main:refs/heads/分支', 'main:refs/tags/v1-ü']
  const { exitCode, text } = await repo.push('hypeman', ...refs)
  assert.equal(exitCode, 0, text)
  assert.match(text, /Receiving [0-9a-f]{7} for web \(ветка\/функция\)/)
  assert.match(text, /warning: 分支 is stored but not built; deploy branches: ветка\/функция/)
  assert.match(text, /hint: to build it: git push hypeman 分支:ветка\/функция/)
  assert.deepEqual(await builtRefs(server), ['refs/heads/ветка/функция'])
  assert.equal((await refsOf(server)).length, 4)
  await repo.git('fetch', '--quiet', 'hypeman', 'refs/heads/ветка/функция')
})

test('a mirror of branches and tags is taken, again too, and leaves the tags of builds alone', async (t) => {
  const { server, repo } = await givenWeb(t)
  await repo.git('config', '--unset', 'remote.hypeman.fetch') // as git remote add --mirror=push
  await repo.git('branch', 'dev')
  await repo.git('tag', 'v1')
  const first = await repo.push('--mirror', 'hypeman')
  assert.equal(first.exitCode, 0, first.text)
  assert.match(first.text, /- \[deleted\] +first/)
  assert.deepEqual(await refsOf(server), ['refs/heads/dev', 'refs/heads/main', 'refs/tags/v1'])
  const path = server.repositories.path((await server.app('web')).id)
  const tip = await repo.git('rev-parse', 'HEAD')
  await server.git.run(['-C', path, 'update-ref', 'refs/tags/builds/abc', tip])
  await repo.git('branch', '-D', 'dev')
  await repo.commit('second')
  const again = await repo.push('--mirror', 'hypeman')
  assert.equal(again.exitCode, 0, again.text)
  assert.match(again.text, /- \[deleted\] +dev/)
  assert.match(await server.git.run(['-C', path, 'tag', '-l']), /builds\/abc/)
  assert.equal((await server.builds()).length, 2)
})

test('a mirror of a clone is refused with the refs that are not hosted, and what to push instead', async (t) => {
  const { server, repo } = await givenWeb(t)
  await repo.git('update-ref', 'refs/remotes/origin/main', 'HEAD')
  const { exitCode, text } = await repo.push('--mirror', 'hypeman')
  assert.equal(exitCode, 1)
  assert.match(
    text,
    /error: refs\/remotes\/origin\/main is not hosted here; only branches and tags/,
  )
  assert.match(text, /hint: push branches and tags only: git push hypeman --all, then --tags/)
  assert.deepEqual(await refsOf(server), ['refs/tags/first'])
})

test('--atomic: one refused ref keeps all of them, and without one all of them move', async (t) => {
  const { server, repo } = await givenWeb(t)
  const refs = ['main', 'main:refs/heads/dev']
  const refused = await repo.push('--atomic', 'hypeman', ...refs, 'main:refs/tags/builds/x')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, /refs\/tags\/builds\/x is for the server/)
  assert.deepEqual(await refsOf(server), ['refs/tags/first'])
  const { exitCode, text } = await repo.push('--atomic', 'hypeman', ...refs)
  assert.equal(exitCode, 0, text)
  assert.deepEqual(await refsOf(server), ['refs/heads/dev', 'refs/heads/main', 'refs/tags/first'])
  assert.deepEqual(await builtRefs(server), ['refs/heads/main'])
})

test('a history with no relation to the last one needs force, and is then built', async (t) => {
  const { server, repo } = await givenWeb(t)
  await repo.push('hypeman', 'main')
  await repo.git('checkout', '--quiet', '--orphan', 'fresh')
  const commit = await repo.commit('from nothing')
  const refused = await repo.push('hypeman', 'fresh:main')
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, /\[rejected\] +fresh -> main \(non-fast-forward\)|fetch first/)
  const { exitCode, text } = await repo.push('--force', 'hypeman', 'fresh:main')
  assert.equal(exitCode, 0, text)
  assert.match(text, /fresh -> main \(forced update\)/)
  assert.equal((await server.builds()).at(-1)?.commit, commit)
})

test('a branch that is pushed again while it builds has two builds, each of its own commit', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const first = repo.startPush('hypeman', 'main')
  const one = await server.untilBuild()
  await server.move(one.id, 'queued', 'building')
  const commit = await repo.commit('second')
  const second = repo.startPush('hypeman', 'main')
  await second.line(/queued, position 1/)
  const two = await server.untilBuild()
  assert.equal(two.commit, commit)
  await server.end(two.id, 'ready')
  await server.end(one.id, 'ready')
  assert.deepEqual([(await first.done).exitCode, (await second.done).exitCode], [0, 0])
})

test('a repository without commits: nothing to push is git’s to say, and the app can be cloned', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const nothing = await repo.push('hypeman', 'nonesuch')
  assert.equal(nothing.exitCode, 1)
  assert.match(nothing.text, /src refspec nonesuch does not match any/)
  await server.apps.create(
    { user: 'ada', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' },
    { name: 'web', tenant: undefined },
  )
  const url = await repo.git('remote', 'get-url', 'hypeman')
  const clone = await execa('git', ['clone', url, join(repo.dir, 'clone')], { reject: false })
  assert.equal(clone.exitCode, 0, clone.stderr)
  assert.match(clone.stderr, /You appear to have cloned an empty repository/)
})

test('export-ignore leaves files out of the build, export-subst writes the commit into them', async (t) => {
  const { server, repo } = await givenWeb(t)
  await repo.write('.gitattributes', '/secret.txt export-ignore\nversion.txt export-subst\n')
  await repo.write('secret.txt', 'not for the build')
  await repo.write('version.txt', 'commit $Format:%H$\n')
  const commit = await repo.commit()
  await repo.push('hypeman', 'main')
  const [build] = await server.builds()
  const archive = join(server.root, 'objects', `${build!.sourceKey}.tar`)
  const { stdout: names } = await execa('tar', ['-tf', archive])
  assert.deepEqual(names.split('\n').sort(), ['.gitattributes', 'Dockerfile', 'version.txt'])
  const { stdout } = await execa('tar', ['-xOf', archive, 'version.txt'])
  assert.equal(stdout, `commit ${commit}`)
  assert.ok((await readFile(archive)).includes(commit))
})
