// A source that is fetched: real git from a real TLS server, through the real way out, into a folder.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { execa } from 'execa'
import { type FetchOptions, fetchSource } from '../../../agent/fetch.ts'
import { FetchFailure } from '../../../agent/fetch-failure.ts'
import type { RepoConfig } from '../../../agent/protocol.ts'
import type { EgressProxyOptions } from '../../../server/egress/proxy.ts'
import { givenProxy } from '../../helpers/egress.ts'
import { type GitHost, givenGitHost, resolverOf } from '../../helpers/git-host.ts'

const NAMES = {
  'git.example.test': ['127.0.0.1'],
  'other.example.test': ['127.0.0.1'],
  'private.example.test': ['10.1.2.3'],
}

interface More extends Partial<Omit<FetchOptions, 'repo'>> {
  egress?: Partial<EgressProxyOptions>
  secret?: string
}

async function fetched(t: TestContext, host: GitHost, repo: RepoConfig, more: More = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'hm-fetch-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const [folder, runFolder] = [join(dir, 'src'), join(dir, 'run')]
  await mkdir(runFolder)
  const { egress, secret, ...options } = more
  const proxy = await givenProxy(t, { resolve: resolverOf(NAMES), ...egress })
  const secretFile = secret === undefined ? undefined : join(runFolder, 'secret')
  if (secretFile) await writeFile(secretFile, secret!)
  const lines: string[] = []
  const run = () =>
    fetchSource({
      repo,
      folder,
      runFolder,
      proxy: `http://127.0.0.1:${proxy.port}`,
      caFile: host.certificate.certFile,
      secretFile,
      log: (line) => lines.push(line),
      signal: new AbortController().signal,
      ...options,
    })
  return { folder, runFolder, lines, run }
}

async function failure(t: TestContext, host: GitHost, repo: RepoConfig, more: More = {}) {
  const { run, folder, runFolder } = await fetched(t, host, repo, more)
  const error = await run().then(
    () => assert.fail('it was fetched'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof FetchFailure, String(error))
  assert.ok(!(await readdir(folder)).some((name) => name.startsWith('.fetch-')))
  assert.ok(!existsSync(join(runFolder, 'git-credentials')))
  return error
}

/** main with a link, a script and a folder; an older commit, a tag of it, a branch beside. */
async function givenHosted(t: TestContext, options: Parameters<typeof givenGitHost>[1] = {}) {
  const host = await givenGitHost(t, options)
  const repo = await host.repository('app')
  await repo.write('Dockerfile', 'FROM scratch\n')
  const first = await repo.commit('first')
  await repo.git('tag', '-a', 'v1', '-m', 'v1')
  await repo.git('checkout', '-q', '-b', 'side')
  await repo.write('side', 'side\n')
  const side = await repo.commit('side')
  await repo.git('checkout', '-q', 'main')
  await mkdir(join(repo.dir, 'bin'))
  await repo.write('bin/run', '#!/bin/sh\n')
  await chmod(join(repo.dir, 'bin/run'), 0o755)
  await symlink('bin/run', join(repo.dir, 'run'))
  await symlink('/etc/passwd', join(repo.dir, 'out'))
  const main = await repo.commit('main')
  await repo.publish()
  return { host, repo, first, side, main, url: host.url('app.git') }
}

test('HEAD, a branch, a tag, a full name and a full hash are fetched, each as one commit', async (t) => {
  const { host, repo, first, side, main, url } = await givenHosted(t)
  const cases: [string | undefined, string, string | undefined][] = [
    [undefined, main, 'refs/heads/main'],
    ['HEAD', main, 'refs/heads/main'],
    ['side', side, 'refs/heads/side'],
    ['v1', first, 'refs/tags/v1'],
    ['refs/tags/v1', first, 'refs/tags/v1'],
    [first, first, undefined],
  ]
  for (const [ref, commit, full] of cases) {
    const { run, lines } = await fetched(t, host, { url, ...(ref ? { ref } : {}) })
    const { hash, ...source } = await run()
    const { stdout } = await execa('git', ['-C', repo.dir, 'archive', '--format=tar', commit], {
      encoding: 'buffer',
    })
    assert.equal(hash, `sha256:${createHash('sha256').update(stdout).digest('hex')}`)
    assert.deepEqual(source, {
      commit,
      committed_at: Number(await repo.git('log', '-1', '--format=%ct', commit)),
      ...(full ? { ref: full } : {}),
    })
    assert.equal(lines[0], `-----> Fetching ${url} (${ref ?? 'HEAD'})`)
    assert.equal(lines[1], `Fetched ${commit}${full ? ` (${full})` : ''}`)
  }
})

test('files, modes and links come as from a push: absolute links are left out with a warning, and no .git', async (t) => {
  const { host, url } = await givenHosted(t)
  const { run, folder, lines } = await fetched(t, host, { url })
  await run()
  assert.deepEqual((await readdir(folder)).sort(), ['Dockerfile', 'bin', 'run'])
  assert.equal((await stat(join(folder, 'bin/run'))).mode & 0o111, 0o111)
  assert.equal(await readlink(join(folder, 'run')), 'bin/run')
  assert.match(lines.at(-1)!, /^warning: out is a link to the absolute path \/etc\/passwd/)
})

test('what an earlier attempt has fetched is fetched again, wherever the branch is now', async (t) => {
  const { host, first, url } = await givenHosted(t)
  const { run, folder } = await fetched(t, host, { url, ref: 'main', commit: first })
  assert.equal((await run()).commit, first)
  assert.deepEqual(await readdir(folder), ['Dockerfile'])
})

test('what the repository has not is named', async (t) => {
  const { host, url } = await givenHosted(t)
  await host.repository('empty')
  const missing = 'f'.repeat(40)
  const cases: [RepoConfig, RegExp][] = [
    [{ url, ref: 'nope' }, /app\.git has no branch or tag nope$/],
    [{ url, ref: 'abcdef1' }, /no branch or tag abcdef1; a commit is named by its full hash$/],
    [{ url, ref: missing }, new RegExp(`the repository gives no ${missing}$`)],
    [{ url: host.url('empty.git') }, /empty\.git has no HEAD: it is empty/],
    [{ url: host.url('gone.git') }, /there is no repository, or it may not be seen/],
  ]
  for (const [repo, message] of cases) {
    const error = await failure(t, host, repo)
    assert.match(error.message, message)
    assert.ok(error.message.startsWith(`the source could not be fetched from ${repo.url}: `))
    assert.equal(error.failureClass, 'source')
  }
})

test('the way out is the only way: its policy holds for the repository', async (t) => {
  const { host, url } = await givenHosted(t)
  const listed = await failure(t, host, { url }, { egress: { allowedDomains: ['example.org'] } })
  assert.match(
    listed.message,
    /the network policy of this build does not let it reach git\.example/,
  )
  const inside = `https://private.example.test:${host.port}/app.git`
  const refused = await failure(t, host, { url: inside })
  assert.match(refused.message, /policy of this build does not let it reach private\.example\.test/)
  const unknown = `https://unknown.example.test:${host.port}/app.git`
  assert.match(
    (await failure(t, host, { url: unknown })).message,
    /unknown\.example\.test:\d+ could not be reached$/,
  )
  assert.deepEqual(host.requests, [])
})

test('a redirect leads only where the policy lets it, and never away from https', async (t) => {
  let target = ''
  const { host, url, main } = await givenHosted(t, {
    names: ['git.example.test', 'other.example.test'],
    intercept(req, res) {
      if (target === '' || !req.headers.host?.startsWith('git.')) return false
      res.writeHead(301, { location: target + req.url }).end()
      return true
    },
  })
  target = `https://other.example.test:${host.port}`
  const { run } = await fetched(t, host, { url })
  assert.equal((await run()).commit, main)
  const egress = { allowedDomains: ['git.example.test'] }
  const kept = await failure(t, host, { url }, { egress })
  assert.match(kept.message, /does not let it reach git\.example\.test:\d+ or where .* redirects/)
  for (const other of ['http://other.example.test', 'file:///etc', 'ext::sh']) {
    target = other
    assert.match((await failure(t, host, { url })).message, /Protocol|protocol|redirect/)
  }
})

test('a certificate that nobody has vouched for is refused, with what an operator can do', async (t) => {
  const { host, url } = await givenHosted(t)
  const error = await failure(t, host, { url }, { caFile: undefined })
  assert.match(
    error.message,
    /certificate.*; an operator can add certificates with EGRESS_CA_FILE$/,
  )
})

test('a private repository opens with its secret, which goes to its host alone', async (t) => {
  let redirect = false
  const { host, url, main } = await givenHosted(t, {
    names: ['git.example.test', 'other.example.test'],
    credentials: 'ada:to:ken',
    intercept(req, res) {
      if (!redirect || !req.headers.host?.startsWith('git.')) return false
      const location = `https://other.example.test:${host.port}${req.url}`
      res.writeHead(302, { location }).end()
      return true
    },
  })
  const secret = 'ada:to:ken\n'
  const repo = { url, secret: 'git_token' }
  const { run, runFolder, lines } = await fetched(t, host, repo, { secret })
  assert.equal((await run()).commit, main)
  assert.deepEqual(await readdir(runFolder), ['secret'])
  assert.ok(!lines.join('\n').includes('to:ken'))

  const without = await failure(t, host, { url })
  assert.match(without.message, /not found there, or it needs credentials: .* repo_secret$/)
  const wrong = await failure(t, host, repo, { secret: 'wrong' })
  assert.match(wrong.message, /the credentials of secret git_token are refused$/)

  redirect = true
  host.requests.length = 0
  await failure(t, host, repo, { secret })
  assert.ok(host.requests.length > 1)
  assert.deepEqual(
    host.requests.filter(({ authorization }) => authorization !== undefined),
    [],
  )
})

test('a password alone goes with the user git', async (t) => {
  const { host, url, main } = await givenHosted(t, { credentials: 'git:p@ss/word%' })
  const { run } = await fetched(t, host, { url, secret: 'x' }, { secret: 'p@ss/word%' })
  assert.equal((await run()).commit, main)
})

test('more than the limits is refused: what is sent, what it unpacks to, how long it takes', async (t) => {
  let isSilent = false
  const { host, repo, url } = await givenHosted(t, { intercept: () => isSilent })
  await writeFile(join(repo.dir, 'zeros'), Buffer.alloc(3 * 1024 * 1024))
  await repo.commit('zeros')
  await repo.publish()
  const unpacked = await failure(t, host, { url }, { limits: { sourceBytesMax: 2 * 1024 * 1024 } })
  assert.match(unpacked.message, /the source is over the limit of 2 MiB$/)
  const { stdout } = await execa('head', ['-c', '3000000', '/dev/urandom'], { encoding: 'buffer' })
  await writeFile(join(repo.dir, 'noise'), stdout)
  await repo.commit('noise')
  await repo.publish()
  const sent = await failure(t, host, { url }, { limits: { packBytesMax: 1024 * 1024 } })
  assert.match(sent.message, /what the repository sends is over the limit of 1 MiB$/)
  isSilent = true
  const late = await failure(t, host, { url }, { limits: { deadlineSeconds: 1 } })
  assert.match(late.message, /it took longer than 1 s$/)
})

test('a cancel ends the fetch at once, and is no failure of the source', async (t) => {
  const cancel = new AbortController()
  const { host, url } = await givenHosted(t, {
    intercept: () => {
      cancel.abort(new Error('not wanted any more'))
      return true
    },
  })
  const { run, folder } = await fetched(t, host, { url }, { signal: cancel.signal })
  await assert.rejects(run(), /^Error: not wanted any more$/)
  assert.deepEqual(await readdir(folder), [])
})

test('no hook, no configuration and no submodule of the repository is followed', async (t) => {
  const { host, repo, url } = await givenHosted(t)
  await repo.write(
    '.gitmodules',
    '[submodule "x"]\n\tpath = x\n\turl = https://git.example.test/x\n',
  )
  await repo.write('.gitattributes', 'Dockerfile filter=evil\n*.secret export-ignore\n')
  await repo.write('a.secret', 'x')
  await repo.git('add', '-A')
  await repo.git('update-index', '--add', '--cacheinfo', `160000,${'a'.repeat(40)},x`)
  await repo.git('commit', '-q', '-m', 'modules')
  await repo.publish()
  const { run, folder, lines } = await fetched(t, host, { url })
  await run()
  assert.match(lines.at(-1)!, /^warning: submodules are not fetched/)
  assert.equal(await readFile(join(folder, 'Dockerfile'), 'utf8'), 'FROM scratch\n')
  assert.ok(!existsSync(join(folder, 'a.secret')))
  assert.deepEqual(await readdir(join(folder, 'x')), [])
  assert.ok(host.requests.every(({ path }) => path.startsWith('/app.git/')))
})
