import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CacheScope } from '../../../server/builds/request-schema.ts'
import {
  appCacheScope,
  globalCache,
  normaliseScope,
  tenantCache,
} from '../../../server/cache/keys.ts'
import { isRepoName } from '../../../server/registry/names.ts'

const isScope = (text: string) => CacheScope.safeParse(text).success

test('a scope is written as in seed 000: lower case, dashes for the rest, collapsed and trimmed', () => {
  const normal = { 'My-Tenant': 'my-tenant', tenant_123: 'tenant-123', '--a  b--': 'a-b', ÄÖ: '' }
  for (const [text, scope] of Object.entries(normal)) assert.equal(normaliseScope(text), scope)
})

test('weakness 2: a scope that is not its own normal form, or no 3 to 64 characters, is refused', () => {
  for (const scope of ['tenant-123', 'my-scope', 'abc', 'a'.repeat(64)]) assert.ok(isScope(scope))
  const odd = [
    'global/node',
    '../x',
    'x,ref=other/repo',
    'a',
    'ab',
    'A-b-c',
    '-abc',
    'a--b',
    'abc\n',
  ]
  for (const scope of [...odd, 'a'.repeat(65), '']) assert.ok(!isScope(scope), scope)
  fc.assert(fc.property(fc.string(), (text) => !isScope(text) || normaliseScope(text) === text))
})

test('seed 000’s key, within the tenant', () => {
  const key = { tenant: 'my-tenant', scope: 'myapp' }
  assert.equal(tenantCache(key), 'cache/my-tenant/myapp')
  assert.equal(tenantCache({ ...key, runtime: 'nodejs20' }), 'cache/my-tenant/myapp/nodejs20')
  assert.equal(globalCache('node'), 'cache/global/node')
})

test('weakness 2: no scope leads out of its tenant', () => {
  const words = fc.string({ unit: fc.constantFrom(...'ab1-/.,=:@_'), minLength: 2, maxLength: 5 })
  fc.assert(
    fc.property(words, (text) => {
      if (!isScope(text)) return
      const repository = tenantCache({ tenant: 'acme', scope: text, runtime: text })
      assert.deepEqual(repository.split('/'), ['cache', 'acme', text, text])
      assert.ok(isRepoName(repository))
    }),
    { numRuns: 2_000 },
  )
})

test('an app has a scope of its own, unless it was given another; a short name as well', () => {
  assert.equal(appCacheScope({ name: 'hello', settings: {} }), 'hello')
  assert.equal(appCacheScope({ name: 'a', settings: {} }), 'app-a')
  assert.equal(appCacheScope({ name: 'x--y', settings: {} }), 'x-y')
  assert.equal(appCacheScope({ name: 'hello', settings: { cacheScope: 'team-web' } }), 'team-web')
})
