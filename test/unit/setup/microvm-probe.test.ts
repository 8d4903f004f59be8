import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeFailure } from '../../../server/setup/microvm-probe.ts'

test('a guest that hangs is told from a QEMU that ends, with its last words', () => {
  const hung = { accel: 'kvm', code: null, signal: 'SIGKILL', output: '' } as const
  assert.equal(describeFailure(hung), 'no guest reached its init within 5 s')
  const ended = { accel: 'kvm', code: 1, signal: null, output: 'a\nPermission denied\n' } as const
  assert.equal(
    describeFailure(ended),
    'QEMU ended with exit code 1 before the guest reached its init (last words: Permission denied)',
  )
})
