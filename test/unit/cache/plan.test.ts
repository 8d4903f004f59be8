// Seed 002's table: what each kind of build imports, exports, and may therefore touch in the registry.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RepoAccess } from '../../../server/auth/registry-claims.ts'
import type { BuildRequest } from '../../../server/builds/request-schema.ts'
import { cacheAccess, cachePlan, cacheUsed } from '../../../server/cache/plan.ts'

const GLOBAL = 'cache/global/node'
const OWN = 'cache/acme/my-tenant'
const tenant = { global_cache_key: 'node', cache_scope: 'my-tenant' }

const table: [string, BuildRequest, string[], string | undefined, RepoAccess[]][] = [
  [
    'a tenant’s build reads both and writes its own',
    tenant,
    [GLOBAL, OWN],
    OWN,
    [
      { repo: GLOBAL, scope: 'pull' },
      { repo: OWN, scope: 'push' },
    ],
  ],
  [
    'an admin build reads and writes the global one, and no scope',
    { ...tenant, is_admin_build: true },
    [GLOBAL],
    GLOBAL,
    [{ repo: GLOBAL, scope: 'push' }],
  ],
  [
    'a global key alone is read only',
    { global_cache_key: 'node' },
    [GLOBAL],
    undefined,
    [{ repo: GLOBAL, scope: 'pull' }],
  ],
  [
    'a scope alone is read and written',
    { cache_scope: 'my-tenant' },
    [OWN],
    OWN,
    [{ repo: OWN, scope: 'push' }],
  ],
  [
    'the runtime is part of the tenant’s cache, not of the global one',
    { ...tenant, runtime: 'nodejs20' },
    [GLOBAL, `${OWN}/nodejs20`],
    `${OWN}/nodejs20`,
    [
      { repo: GLOBAL, scope: 'pull' },
      { repo: `${OWN}/nodejs20`, scope: 'push' },
    ],
  ],
  [
    'without cache nothing is read, and what is new is written',
    { ...tenant, no_cache: true },
    [],
    OWN,
    [{ repo: OWN, scope: 'push' }],
  ],
  ['nothing asked for is nothing granted', {}, [], undefined, []],
  [
    'an admin build without a key has no cache',
    { is_admin_build: true, cache_scope: 'x-y' },
    [],
    undefined,
    [],
  ],
]

for (const [sentence, request, imports, target, access] of table) {
  test(sentence, () => {
    const plan = cachePlan('acme', request)
    assert.deepEqual(plan.imports, imports)
    assert.equal(plan.export, target)
    assert.deepEqual(cacheAccess(plan), access)
  })
}

test('what a guest says of its caches counts only for those it was given', () => {
  const plan = cachePlan('acme', tenant)
  const use = { imported: ['cache/other/x', OWN], exported: true }
  assert.deepEqual(cacheUsed(plan, use), { imported: [OWN], exported: OWN })
  assert.deepEqual(cacheUsed(plan, undefined), { imported: [] })
  assert.deepEqual(cacheUsed({ imports: [] }, use), { imported: [] })
})
