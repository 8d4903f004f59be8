// POST /builds with `repo_url`: what is queued for the sandbox to fetch, and what is refused before anything is.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBuildStore } from '../../server/builds/store.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { bodyOf } from '../helpers/http.ts'
import { DOCKERFILE, post, tarOf } from '../helpers/sources.ts'

const URL_FIELD: [string, string] = ['repo_url', 'https://git.example.org/team/app.git']

async function queued(api: TestApi, ...fields: [string, string][]) {
  const reply = await api.call('/builds', post(...fields))
  const build = await bodyOf(reply)
  assert.equal(reply.status, 202, JSON.stringify(build))
  return { build, row: (await createBuildStore(api).get(build.id))! }
}

test('a repository is queued with its ref, and shown with it', async (t) => {
  const api = await givenApi(t)
  const { build, row } = await queued(
    api,
    URL_FIELD,
    ['ref', 'main'],
    ['repo_secret', 'git_token'],
    ['dockerfile_path', 'deploy/Dockerfile'],
    ['build_args', '{"A":"1"}'],
    ['build_policy', '{"allowed_domains":["*.example.org"]}'],
  )
  assert.deepEqual(row.request, {
    repo_url: 'https://git.example.org/team/app.git',
    repo_secret: 'git_token',
    dockerfile_path: 'deploy/Dockerfile',
    build_args: { A: '1' },
    build_policy: { allowed_domains: ['*.example.org'] },
  })
  assert.deepEqual([build.repo_url, build.ref, build.commit], [URL_FIELD[1], 'main', undefined])
  assert.equal(row.app, undefined)
  const bare = await queued(api, URL_FIELD)
  assert.equal(bare.build.ref, undefined)
})

test('an address has one spelling', async (t) => {
  const api = await givenApi(t)
  const cases = [
    ['HTTPS://Git.Example.org./a/../app.git', 'https://git.example.org/app.git'],
    ['https://git.example.org:443/app', 'https://git.example.org/app'],
    ['https://git.example.org:8443/app', 'https://git.example.org:8443/app'],
    ['https://0x5db8d822/app', 'https://93.184.216.34/app'],
    ['https://[2606:2800:220:1:248:1893:25c8:1946]/app', undefined],
  ]
  for (const [text = '', spelled = text] of cases) {
    const { row } = await queued(api, ['repo_url', text])
    assert.equal(row.request.repo_url, spelled)
  }
})

test('what can never be fetched is refused by name, and leaves nothing', async (t) => {
  const api = await givenApi(t)
  const only = /must be https:\/\/host\/path, or an app of this server; nothing else is taken/
  const cases: [[string, string][], RegExp][] = [
    ...[
      'http://git.example.org/app.git',
      'ssh://git@git.example.org/app.git',
      'git@git.example.org:team/app.git',
      'git://git.example.org/app.git',
      'file:///etc/passwd',
      '/etc/passwd',
      'ext::sh -c id',
      'https::https://x',
      '--upload-pack=id',
      'https:///app',
      'https://git.example.org/a b',
      'https://git.example.org/a\nb',
      'https://git.example.org/ü',
    ].map((url): [[string, string][], RegExp] => [[['repo_url', url]], only]),
    [[['repo_url', 'https://git.example.org']], /must name a repository/],
    [[['repo_url', 'https://git.example.org/app?x=1']], /no query and no fragment/],
    [[['repo_url', 'https://git.example.org/app#main']], /no query and no fragment/],
    [[['repo_url', `https://x/${'a'.repeat(3_000)}`]], /repo_url/],
    [[URL_FIELD, ['ref', '--upload-pack=id']], /must be the name of a branch or tag/],
    [[URL_FIELD, ['ref', 'a..b']], /must be the name of a branch or tag/],
    [[URL_FIELD, ['ref', 'main:main']], /must be the name of a branch or tag/],
    [[URL_FIELD, ['commit', 'a'.repeat(40)]], /with repo_url its full hash is given as ref/],
    [[URL_FIELD, ['source_hash', 'a'.repeat(64)]], /source_hash needs source/],
    [[URL_FIELD, ['app', 'web']], /^give app or repo_url: both say what to build$/],
    [[URL_FIELD, ['repo_secret', '../x']], /repo_secret/],
    [[['repo_secret', 'x']], /^repo_secret needs repo_url$/],
    [[URL_FIELD, ['build_policy', '{"network_mode":"isolated"}']], /an isolated build can't fetch/],
    [
      [URL_FIELD, ['build_policy', '{"allowed_domains":["example.org"]}']],
      /git\.example\.org is not in allowed_domains/,
    ],
    [
      [
        ['repo_url', 'https://93.184.216.34/a'],
        ['build_policy', '{"allowed_domains":["93.184.216.34"]}'],
      ],
      /93\.184\.216\.34/,
    ],
  ]
  for (const [fields, message] of cases) {
    const reply = await api.call('/builds', post(...fields))
    const error = await bodyOf(reply)
    assert.equal(reply.status, 400, JSON.stringify([fields, error]))
    assert.match(error.message, message)
  }
  const both = await api.call('/builds', post(URL_FIELD, ['source', await tarOf(DOCKERFILE)]))
  assert.match((await bodyOf(both)).message, /^give source or repo_url: both say what to build$/)
  assert.deepEqual(await api.db('builds'), [])
  assert.deepEqual(await api.objectFiles(), [])
})

test('credentials in an address are refused and never repeated', async (t) => {
  const api = await givenApi(t)
  for (const url of [
    'https://ada:hunter2@git.example.org/app.git',
    'https://hunter2@git.example.org/app.git',
    'http://ada:hunter2@git.example.org/app.git',
    'ada:hunter2@git.example.org:app.git',
    'https://ada:hunter2@builds.example/acme/web.git',
  ]) {
    const reply = await api.call('/builds', post(['repo_url', url]))
    const text = await reply.text()
    assert.equal(reply.status, 400, text)
    assert.ok(!text.includes('hunter2'), text)
    if (url.startsWith('https:')) assert.match(text, /secret, and name it as repo_secret/)
  }
})

test('the same request with its Idempotency-Key is one build; another repository is a conflict', async (t) => {
  const api = await givenApi(t)
  const headers = { 'idempotency-key': 'k1' }
  const send = (...fields: [string, string][]) =>
    api.call('/builds', { ...post(...fields), headers })
  const first = await bodyOf(await send(URL_FIELD, ['ref', 'main']))
  const again = await send(URL_FIELD, ['ref', 'main'])
  assert.equal(again.status, 202)
  assert.equal((await bodyOf(again)).id, first.id)
  assert.equal((await send(URL_FIELD, ['ref', 'next'])).status, 409)
  assert.equal((await api.db('builds')).length, 1)
})

const json = (body: unknown): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})

test('the same may be sent as JSON, and is the same request', async (t) => {
  const api = await givenApi(t)
  const body = {
    repo_url: URL_FIELD[1],
    ref: 'main',
    build_args: { A: '1' },
    cpus: 2,
    no_cache: true,
    secrets: [{ id: 'npm' }],
    tags: { team: 'web' },
  }
  const reply = await api.call('/builds', json(body))
  const build = await bodyOf(reply)
  assert.equal(reply.status, 202, JSON.stringify(build))
  const row = (await createBuildStore(api).get(build.id))!
  assert.deepEqual([row.ref, row.tags], ['main', { team: 'web' }])
  assert.deepEqual(row.request, {
    repo_url: URL_FIELD[1],
    build_args: { A: '1' },
    build_policy: { cpus: 2 },
    no_cache: true,
    secrets: [{ id: 'npm' }],
  })
})

test('JSON that is none, is of the wrong types or has no source is refused', async (t) => {
  const api = await givenApi(t)
  const repo_url = URL_FIELD[1]
  const cases: [unknown, number, RegExp][] = [
    ['{', 400, /not valid JSON/],
    [[], 400, /body/],
    [{}, 400, /^source is required$/],
    [{ repo_url: 5 }, 400, /repo_url/],
    [{ repo_url, cpus: '2' }, 400, /cpus/],
    [{ repo_url, source: 'x' }, 400, /source/],
    [{ repo_url, unknown: 1 }, 400, /unknown/],
    [{ repo_url, dockerfile: 'x'.repeat(2 * 1024 * 1024) }, 413, /larger than/],
  ]
  for (const [body, status, message] of cases) {
    const reply = await api.call('/builds', json(body))
    const error = await bodyOf(reply)
    assert.equal(reply.status, status, JSON.stringify(error))
    assert.match(error.message, message)
  }
})
