// What a push says whose branch has moved and whose build could not be queued.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../../../server/errors.ts'
import { unqueuedLines } from '../../../server/git/push-lines.ts'

const COMMIT = 'c'.repeat(40)
const MOVED = { app: 'web', ref: 'refs/heads/main', commit: COMMIT }
const said = (error: unknown) => unqueuedLines(error, MOVED, { baseUrl: 'http://host' })

test('what the push itself lacks comes with the command that builds the commit, since pushing again builds nothing', () => {
  assert.deepEqual(said(new AppError('invalid_source', 'no', { hint: 'mend it' })), [
    'error: no',
    'hint: mend it',
    'hint: nothing was queued',
    `hint: main has moved to ${'c'.repeat(10)} all the same, so pushing it again builds nothing`,
    `hint: to build it again: curl -H "Authorization: Bearer $TOKEN" -F app=web -F ref=main -F commit=${COMMIT} http://host/builds`,
  ])
})

test('what the server lacks is no task of the person who pushed: it tries again', () => {
  const again = 'hint: the server tries again within a minute; there is no need to push again'
  assert.deepEqual(said(new AppError('objects_unavailable', 'away')), ['error: away', again])
  assert.deepEqual(said(new Error('a mistake')).at(-1), again)
  assert.match(
    said(new AppError('queue_full', 'full')).at(-1)!,
    /queues its build when there is room$/,
  )
})
