// What a ref update means: every update falls into exactly one class, and what protects refs can't be evaded.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { classify, howToBuild } from '../../../server/git/classify.ts'
import { ZERO_OID } from '../../../server/git/pkt-line.ts'

const DEPLOY = ['main', 'release/1.0']
const RULES = { deployBranches: DEPLOY, branchPolicy: 'warn' } as const
const SHA = '1'.repeat(40)
const OTHER = '2'.repeat(40)
const kindOf = (ref: string, newSha = SHA) =>
  classify({ oldSha: ZERO_OID, newSha, ref }, RULES).kind

test('tags of builds that are no longer here: the refusal says how to push the others', () => {
  const refused = classify({ oldSha: ZERO_OID, newSha: SHA, ref: 'refs/tags/builds/x' }, RULES)
  assert.equal(refused.kind, 'refused')
  assert.match(refused.kind === 'refused' ? refused.hint : '', /no longer here: git tag -d/)
})

test('branches, tags and the rest', () => {
  assert.deepEqual(
    [
      kindOf('refs/heads/main'),
      kindOf('refs/heads/release/1.0'),
      kindOf('refs/heads/dev'),
      kindOf('refs/heads/dev', ZERO_OID),
      kindOf('refs/heads/main', ZERO_OID),
      kindOf('refs/tags/v1'),
      kindOf('refs/tags/v1', ZERO_OID),
      kindOf('refs/tags/builds/x'),
      kindOf('refs/tags/builds/x', ZERO_OID),
      kindOf('refs/heads/builds/x'),
      kindOf('refs/notes/commits'),
      kindOf('refs/heads/'),
      kindOf('HEAD'),
    ],
    [
      'build',
      'build',
      'stored',
      'deleted',
      'refused',
      'tag',
      'deleted',
      'refused',
      'refused',
      'stored',
      'refused',
      'refused',
      'refused',
    ],
  )
})

test('whatever the ref: built only on a deploy branch, refused with a reason, never both', () => {
  const ref = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 600 }),
    fc.string({ unit: 'grapheme' }).map((name) => `refs/heads/${name}`),
    fc.string().map((name) => `refs/tags/builds/${name}`),
    fc.constantFrom('refs/heads/main', 'refs/heads/main ', 'refs/heads/Main', 'refs//heads/main'),
  )
  fc.assert(
    fc.property(ref, fc.constantFrom(SHA, OTHER, ZERO_OID), (name, newSha) => {
      const isDeletion = newSha === ZERO_OID
      const update = { oldSha: SHA, newSha, ref: name }
      const result = classify(update, RULES)
      if (result.kind === 'build') {
        assert.ok(DEPLOY.includes(result.branch) && !isDeletion)
        assert.equal(name, `refs/heads/${result.branch}`)
      }
      if (name.startsWith('refs/tags/builds/')) {
        assert.ok(result.kind === 'refused' || (result.kind === 'unchanged' && newSha === SHA))
      }
      if (!/^refs\/(heads|tags)\//.test(name)) assert.equal(result.kind, 'refused')
      if (result.kind === 'refused') {
        assert.ok(result.reason !== '' && result.hint !== '')
        // A person's terminal is not for the name to write on.
        assert.doesNotMatch(result.reason, /[\u0000-\u001f\u007f-\u009f]/)
      }
    }),
  )
})

test('the policy of an app decides over branches that are no deploy branches, and over nothing else', () => {
  const kinds = (branchPolicy: 'warn' | 'reject' | 'build') =>
    ['refs/heads/main', 'refs/heads/dev', 'refs/tags/v1'].map(
      (ref) => classify({ oldSha: ZERO_OID, newSha: SHA, ref }, { ...RULES, branchPolicy }).kind,
    )
  assert.deepEqual(kinds('warn'), ['build', 'stored', 'tag'])
  assert.deepEqual(kinds('reject'), ['build', 'refused', 'tag'])
  assert.deepEqual(kinds('build'), ['build', 'build', 'tag'])
  const deletion = { oldSha: SHA, newSha: ZERO_OID, ref: 'refs/heads/dev' }
  assert.equal(classify(deletion, { ...RULES, branchPolicy: 'reject' }).kind, 'deleted')
})

test('a hint to paste holds whatever the branch is called', () => {
  assert.equal(howToBuild('dev', RULES), 'to build it: git push hypeman dev:main')
  assert.equal(howToBuild('ветка/é', RULES), 'to build it: git push hypeman ветка/é:main')
  assert.equal(
    howToBuild("a$(rm -rf)'b", RULES),
    `to build it: git push hypeman 'a$(rm -rf)'\\''b:main'`,
  )
})
