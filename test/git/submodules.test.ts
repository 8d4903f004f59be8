// Submodules of a pushed commit: those of the tenant's apps come with the source, public ones are left to the
// build, and what is neither is refused before anything is queued.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { bodyOf } from '../helpers/http.ts'
import type { Repo } from '../helpers/repo.ts'
import { post, sourceFiles } from '../helpers/sources.ts'

const PUBLIC = 'https://git.example.org/far.git'
const PINNED = 'c'.repeat(40)

interface Pinned {
  path: string
  commit: string
  /** Absent: .gitmodules does not have it. */
  url?: string
}

async function pin(repo: Repo, ...submodules: Pinned[]): Promise<string> {
  const sections = submodules.flatMap(({ path, url }) =>
    url === undefined ? [] : [`[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n`],
  )
  if (sections.length > 0) {
    await repo.write('.gitmodules', sections.join(''))
    await repo.git('add', '.gitmodules')
  }
  for (const { path, commit } of submodules) {
    await repo.git('update-index', '--add', '--cacheinfo', `160000,${commit},${path}`)
  }
  await repo.git('commit', '--quiet', '-m', 'submodules')
  return repo.git('rev-parse', 'HEAD')
}

/** An app that is only stored, with a file of its name. */
async function givenLibrary(t: TestContext, server: GitServer, name: string, request = {}) {
  const repo = await server.givenClient(t, name, request)
  await repo.write('file', `of ${name}\n`)
  const first = await repo.commit()
  await repo.write('file', `newer ${name}\n`)
  await repo.commit()
  await repo.push('hypeman', 'main:refs/heads/dev')
  return { repo, first }
}

test('submodules of the tenant’s apps are in the source at their commit, in each other as well', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const inner = await givenLibrary(t, server, 'inner')
  const outer = await givenLibrary(t, server, 'outer')
  const middle = await pin(outer.repo, { path: 'in', url: '../inner.git', commit: inner.first })
  await outer.repo.push('hypeman', 'HEAD:refs/heads/dev')
  const repo = await server.givenClient(t, 'web')
  await pin(
    repo,
    { path: 'libs/outer', url: `${server.url}/acme/outer.git`, commit: middle },
    { path: 'libs/inner', url: `${server.url}/inner`, commit: inner.first },
    { path: 'libs/far', url: PUBLIC, commit: PINNED },
  )
  const { text } = await repo.push('hypeman', 'main')
  assert.doesNotMatch(text, /warning/)
  const [build] = await server.builds()
  const files = await sourceFiles(server.root, build!)
  assert.equal(files['libs/outer/file'], 'newer outer\n')
  assert.equal(files['libs/outer/in/file'], 'of inner\n')
  assert.equal(files['libs/inner/file'], 'of inner\n')
  assert.equal(files.Dockerfile, 'FROM scratch\n')
  const app = (name: string) => ({ url: `${server.url}/acme/${name}.git`, app: name })
  assert.deepEqual(build?.request.submodules, [
    { path: 'libs/far', url: PUBLIC, commit: PINNED },
    { path: 'libs/inner', commit: inner.first, ...app('inner') },
    { path: 'libs/outer', commit: middle, ...app('outer') },
    { path: 'libs/outer/in', commit: inner.first, ...app('inner') },
  ])

  const authorization = `Bearer ${await server.token()}`
  const submit = async (...more: [string, string][]) => {
    const form = post(['app', 'web'], ['ref', 'main'], ...more)
    return fetch(`${server.url}/builds`, { ...form, headers: { authorization } })
  }
  assert.equal((await submit()).status, 202)
  const [, again] = await server.builds()
  assert.deepEqual(again?.request.submodules, build?.request.submodules)
  assert.equal(again?.sourceHash, build?.sourceHash)
  const isolated = await submit(['build_policy', '{"network_mode":"isolated"}'])
  assert.equal(isolated.status, 400)
  assert.match((await bodyOf(isolated)).message, /^submodule libs\/far: .*far\.git.*isolated build/)
})

test('a submodule that can’t be had is refused with path and address, and nothing is queued', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const library = await givenLibrary(t, server, 'lib')
  await givenLibrary(t, server, 'secret', { tenant: 'other' })
  const lost = 'd'.repeat(40)
  const cases: [Omit<Pinned, 'path'>, RegExp][] = [
    [{ commit: PINNED }, /submodule libs\/x: \.gitmodules has no address for it/],
    [
      { commit: PINNED, url: 'git@example.org:x.git' },
      /libs\/x: "\*\*\*@example\.org:x\.git": must be https/,
    ],
    [
      { commit: PINNED, url: 'ssh://example.org/x' },
      /libs\/x: "ssh:\/\/example\.org\/x": must be https/,
    ],
    [{ commit: PINNED, url: 'file:///etc' }, /libs\/x: "file:\/\/\/etc": must be https/],
    [{ commit: PINNED, url: '/etc' }, /libs\/x: "\/etc": must be https/],
    [{ commit: PINNED, url: 'http://git.example.org/x' }, /libs\/x: "http:.*must be https/],
    [{ commit: PINNED, url: 'https://u:hush@git.example.org/x' }, /libs\/x: .*no credentials/],
    [{ commit: PINNED, url: '../nope.git' }, /libs\/x: "\.\.\/nope\.git": there is no app nope/],
    [{ commit: PINNED, url: '../../other/secret.git' }, /there is no app secret of acme/],
    [{ commit: lost, url: '../lib.git' }, /libs\/x: lib has no commit dddd.*\n.*hint: push it to/],
  ]
  for (const [submodule, message] of cases) {
    const repo = await server.givenClient(t, 'web')
    await pin(repo, { path: 'libs/x', ...submodule })
    const { text } = await repo.push('hypeman', '+main')
    assert.match(text, message)
    assert.match(text, /hint: .*set submodules of the app to ignore/)
    assert.doesNotMatch(text, /hush/)
  }
  const repo = await server.givenClient(t, 'web')
  await pin(repo, { path: 'libs/x', url: PUBLIC, commit: PINNED })
  for (const policy of [{ network_mode: 'isolated' }, { allowed_domains: ['example.com'] }]) {
    await server.db('apps').where({ name: 'web' }).update({ settings: { policy } })
    await repo.git('commit', '--quiet', '--allow-empty', '-m', 'again')
    const { text } = await repo.push('hypeman', '+main')
    assert.match(
      text,
      /submodule libs\/x: "https:\/\/git\.example\.org\/far\.git": .*(isolated|allowed_domains)/,
    )
  }
  assert.deepEqual([await server.builds(), await server.objectFiles()], [[], []])
  assert.ok(library.first)
})

test('submodules that hold each other end at a depth, and an app may do without any', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  let { repo, first: commit } = await givenLibrary(t, server, 'lib')
  for (let depth = 0; depth < 6; depth += 1) {
    commit = await pin(repo, { path: 'deeper', url: './', commit })
    await repo.push('hypeman', 'HEAD:refs/heads/dev')
  }
  repo = await server.givenClient(t, 'web')
  await pin(repo, { path: 'lib', url: '../lib.git', commit })
  const deep = await repo.push('hypeman', 'main')
  assert.match(deep.text, /submodule lib(\/deeper){5}: it lies deeper than 5 submodules/)
  assert.deepEqual(await server.builds(), [])

  await server
    .db('apps')
    .where({ name: 'web' })
    .update({ settings: { submodules: 'ignore' } })
  await repo.git('commit', '--quiet', '--allow-empty', '-m', 'again')
  const { text } = await repo.push('hypeman', 'main')
  assert.match(text, /warning: submodules are not fetched: their folders are empty in the build/)
  const [build] = await server.builds()
  assert.equal(build?.request.submodules, undefined)
})
