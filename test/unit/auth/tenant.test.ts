import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isTenantName, tenantOf } from '../../../server/auth/tenant.ts'

test('tenant names are 3 to 63 lower-case letters, digits and inner dashes', () => {
  for (const name of ['abc', 'a-b', '0a9', 'a'.repeat(63)]) assert.ok(isTenantName(name), name)
  for (const name of [
    '',
    'ab',
    '-ab',
    'ab-',
    'aBc',
    'a_b',
    'a/b',
    'a.b',
    'abc\n',
    'a'.repeat(64),
  ]) {
    assert.ok(!isTenantName(name), JSON.stringify(name))
  }
})

test('words that mean something in the registry are no tenants', () => {
  for (const name of ['global', 'library', 'builds', 'cache', 'apps', 'shared']) {
    assert.ok(!isTenantName(name))
    assert.match(tenantOf(name), /^tenant-[0-9a-f]{16}$/)
  }
})

test('every subject has a valid tenant, always the same', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1 }), (sub) => {
      assert.ok(isTenantName(tenantOf(sub)))
      assert.equal(tenantOf(sub), tenantOf(sub))
    }),
  )
})

test('nobody gets a derived tenant by taking its name as subject', () => {
  const derived = tenantOf('ada@example.com')
  assert.notEqual(tenantOf(derived), derived)
})
