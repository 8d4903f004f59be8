// Branch names as registry tags.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isBranchName } from '../../../server/apps/branch-name.ts'
import { branchTag } from '../../../server/builds/branch-tag.ts'
import { isTag } from '../../../server/registry/names.ts'

test('a branch whose name is a tag is its own tag', () => {
  for (const name of ['main', 'release-1001', 'v1.2_x', 'a00b']) assert.equal(branchTag(name), name)
})

test('another one is readable in its tag, and shares it with none', () => {
  const names = [
    'feature/x',
    'feature-x',
    'feature//x',
    'feature+x',
    'größe',
    'grüße',
    '日本',
    '中国',
  ]
  const tags = names.map(branchTag)
  assert.equal(new Set(tags).size, names.length)
  assert.match(branchTag('feature/x'), /^feature-x-[0-9a-f]{10}$/)
  assert.match(branchTag('日本'), /^[0-9a-f]{10}$/)
  // Somebody's branch may be called what ours is turned into.
  assert.notEqual(branchTag(branchTag('feature/x')), branchTag('feature/x'))
})

test('a branch that is called like the referrers of an image does not go with that image', () => {
  const name = `sha256-${'a'.repeat(64)}`
  for (const branch of [name, `${name}.sig`]) {
    assert.match(branchTag(branch), /^sha256_a{64}[.a-z]*-[0-9a-f]{10}$/)
  }
  assert.equal(branchTag('sha256-fix'), 'sha256-fix')
})

test('every branch name git accepts has a tag the registry accepts, its own', () => {
  const names = fc
    .array(fc.oneof(fc.string(), fc.constantFrom('a', '-', '/', '.', 'x'.repeat(90), '0123456789')))
    .map((parts) => parts.join(''))
    .filter(isBranchName)
  fc.assert(
    fc.property(names, names, (a, b) => {
      assert.ok(isTag(branchTag(a)), branchTag(a))
      if (a !== b) assert.notEqual(branchTag(a), branchTag(b))
    }),
  )
})
