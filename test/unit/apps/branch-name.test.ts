// Deploy branches: the same names git itself accepts.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { BRANCH_NAME_PATTERN, isBranchName } from '../../../server/apps/branch-name.ts'

function gitAccepts(name: string): boolean {
  const { status, stdout } = spawnSync('git', ['check-ref-format', '--branch', name], {
    encoding: 'utf8',
  })
  // `@{-1}` and the like are expanded: then it is not the name itself that is accepted.
  return status === 0 && stdout === `${name}\n`
}

test('well-known good and bad names', () => {
  for (const name of ['main', 'release/1.x', 'feature/ü-🦊', 'a@b', '@', 'a.b', 'v1.0', 'x#y']) {
    assert.equal(isBranchName(name), true, name)
    assert.equal(gitAccepts(name), true, name)
  }
  const bad = ['', 'HEAD', '-x', '/a', 'a/', 'a//b', 'a..b', '.a', 'a/.b', 'a.lock', 'a.lock/b']
  const worse = [
    'a.',
    'a b',
    'a~1',
    'a^',
    'a:b',
    'a?',
    'a*',
    'a[',
    'a\\b',
    'a@{1}',
    'a\u007f',
    'a\n',
  ]
  for (const name of [...bad, ...worse]) {
    assert.equal(isBranchName(name), false, JSON.stringify(name))
    assert.equal(gitAccepts(name), false, JSON.stringify(name))
  }
})

test('agrees with git about any name made of the characters that matter', () => {
  const part = fc.constantFrom(
    'a',
    '.',
    '..',
    '/',
    '-',
    '@',
    '{',
    '@{',
    '.lock',
    'HEAD',
    '~',
    ' ',
    'ü',
  )
  const name = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(name, (text) => isBranchName(text) === gitAccepts(text)),
    { numRuns: 300 },
  )
})

test('the pattern in the API document is the same rule', () => {
  const part = fc.constantFrom(
    'a',
    '/',
    '.',
    '..',
    '.lock',
    '@',
    '@{',
    'HEAD',
    '-',
    '~',
    ' ',
    'ü',
    '*',
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const name = parts.join('')
      assert.equal(BRANCH_NAME_PATTERN.test(name), isBranchName(name), JSON.stringify(name))
    }),
    { numRuns: 5_000 },
  )
})
