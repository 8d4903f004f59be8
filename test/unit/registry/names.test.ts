import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  isRepoName,
  parseRoute,
  type RepoRoute,
  routePath,
} from '../../../server/registry/names.ts'

const digest = `sha256:${'a'.repeat(64)}`

test('every route of the API is told, with names of any depth', () => {
  for (const repo of ['a', 'builds/x1', 'a/b/c/d/e', 'a.b/c_d/e__f/g--h']) {
    const base = `/v2/${repo}`
    const routes: [string, RepoRoute][] = [
      ['manifests/latest', { kind: 'manifest', repo, reference: 'latest' }],
      [`manifests/${digest}`, { kind: 'manifest', repo, reference: digest }],
      [`blobs/${digest}`, { kind: 'blob', repo, digest }],
      ['blobs/uploads/', { kind: 'uploads', repo }],
      ['blobs/uploads', { kind: 'uploads', repo }],
      ['blobs/uploads/0f-a_b=', { kind: 'upload', repo, upload: '0f-a_b=' }],
      ['tags/list', { kind: 'tags', repo }],
      [`referrers/${digest}`, { kind: 'referrers', repo, digest }],
    ]
    for (const [rest, route] of routes) assert.deepEqual(parseRoute(`${base}/${rest}`), route)
  }
  assert.deepEqual(parseRoute('/v2/'), { kind: 'base' })
  assert.deepEqual(parseRoute('/v2'), { kind: 'base' })
  assert.deepEqual(parseRoute('/v2/token'), { kind: 'token' })
  assert.deepEqual(parseRoute('/v2/_catalog'), { kind: 'catalog' })
})

test('words of the API may be part of a name', () => {
  const repo = 'a/manifests/blobs/uploads/tags'
  assert.deepEqual(parseRoute(`/v2/${repo}/manifests/x`), {
    kind: 'manifest',
    repo,
    reference: 'x',
  })
  assert.deepEqual(parseRoute(`/v2/${repo}/tags/list`), { kind: 'tags', repo })
  assert.deepEqual(parseRoute(`/v2/${repo}/blobs/uploads/`), { kind: 'uploads', repo })
})

test('an encoded colon is a colon', () => {
  const encoded = parseRoute(`/v2/builds/x/blobs/${digest.replace(':', '%3A')}`)
  assert.deepEqual(encoded, { kind: 'blob', repo: 'builds/x', digest })
})

test('odd paths are refused', () => {
  for (const path of [
    '',
    '/',
    '/v1/',
    '/v2//',
    '/v2/../v2/a/manifests/x',
    '/v2/a/../b/manifests/x',
    '/v2/a/./manifests/x',
    '/v2/a//b/manifests/x',
    '/v2/a/manifests/..',
    '/v2/a/manifests/',
    '/v2/a/manifests/x/',
    '/v2/a/manifests/x/y',
    '/v2/manifests/x',
    '/v2/A/manifests/x',
    '/v2/a%2fb/manifests/x',
    '/v2/a%2Fb/manifests/x',
    '/v2/a%252fb/manifests/x',
    '/v2/%2e%2e/a/manifests/x',
    '/v2/a/manifests/%2e%2e',
    '/v2/a%00/manifests/x',
    '/v2/a%0a/manifests/x',
    '/v2/a/manifests/%ff',
    '/v2/a/manifests/%',
    '/v2/a\\b/manifests/x',
    '/v2/a/blobs/sha256:abc',
    `/v2/a/blobs/${digest}/..`,
    '/v2/a/blobs/uploads/..',
    '/v2/a/blobs/uploads/x/y',
    '/v2/a/tags/list/',
    '/v2/a/manifests/x#y',
    'http://other/v2/a/manifests/x',
    `/v2/${'a'.repeat(256)}/manifests/x`,
  ]) {
    assert.equal(parseRoute(path), undefined, path)
  }
})

test('whatever is accepted is written back to the registry in plain form', () => {
  const piece = fc.constantFrom(
    ...['a', 'b1', 'manifests', 'blobs', 'uploads', 'tags', 'list', 'referrers', digest],
    ...['..', '.', '', '%2f', '%3A', '%', '_', '-', 'A', 'latest', 'a%61'],
  )
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 7 }), (pieces) => {
      const route = parseRoute(`/v2/${pieces.join('/')}`)
      if (!route || !('repo' in route)) return
      assert.ok(isRepoName(route.repo))
      const path = routePath(route)
      assert.match(path, /^\/v2\/[a-zA-Z0-9._:/=-]+$/)
      assert.ok(!/\/\/|\/\.\.?(\/|$)/.test(path), path)
      assert.deepEqual(parseRoute(path), route)
    }),
    { numRuns: 2_000 },
  )
})

test('a name that would take a backtracking matcher for ever is refused at once', () => {
  const started = Date.now()
  assert.ok(!isRepoName(`${'a-'.repeat(120)}!`))
  assert.ok(!isRepoName(`${'a'.repeat(254)}!`))
  assert.ok(Date.now() - started < 100)
})
