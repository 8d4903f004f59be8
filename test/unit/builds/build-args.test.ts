import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BuildArgs } from '../../../server/builds/request-schema.ts'
import { BUILD_ARG_BYTES_MAX } from '../../../server/limits.ts'

test('a build argument may have any value that a process can be given', () => {
  const values = ['', 'a,b', 'two\nlines', '"x"=$y --opt z', 'ü'.repeat(BUILD_ARG_BYTES_MAX / 2)]
  for (const A of values) assert.deepEqual(BuildArgs.parse({ A }), { A })
  for (const A of ['a\0b', 'ü'.repeat(BUILD_ARG_BYTES_MAX / 2 + 1), 1]) {
    assert.equal(BuildArgs.safeParse({ A }).success, false)
  }
})

test('the arguments that steer BuildKit are reserved', () => {
  for (const name of ['BUILDKIT_SYNTAX', 'BUILDKIT_CONTEXT_KEEP_GIT_DIR', 'a=b', 'a b', '1A', '']) {
    assert.equal(BuildArgs.safeParse({ [name]: 'x' }).success, false, name)
  }
})
