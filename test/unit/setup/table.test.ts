import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHealthy, type Row, renderTable } from '../../../server/setup/doctor/table.ts'

const fine: Row = { name: 'git', version: '2.39.5', from: '/usr/bin/git', isNeeded: true }
const broken: Row = {
  name: 'builder image',
  version: '-',
  from: '-',
  problem: 'not in the cache',
  repair: 'npm run setup',
  isNeeded: true,
}
const weak: Row = {
  name: 'users',
  version: '-',
  from: '-',
  problem: 'not root',
  isNeeded: false,
  notes: ['everything runs as ada'],
}

test('the table is aligned, names what is wrong and ends with each repairing command once', () => {
  const text = renderTable([
    { title: 'Parts', rows: [fine, broken, { ...broken, name: 'BuildKit' }] },
    { title: 'Hardening', rows: [weak] },
  ])
  assert.deepEqual(text.split('\n'), [
    'Parts',
    '  git            2.39.5  /usr/bin/git  ok',
    '  builder image  -       -             NOT USABLE: not in the cache',
    '  BuildKit       -       -             NOT USABLE: not in the cache',
    '',
    'Hardening',
    '  users          -       -             does not hold: not root',
    '    everything runs as ada',
    '',
    'To repair',
    '  npm run setup',
    '',
  ])
})

test('an installation is healthy without its hardening, but not without a needed part', () => {
  assert.equal(isHealthy([{ title: '', rows: [fine, weak] }]), true)
  assert.equal(isHealthy([{ title: '', rows: [fine, broken] }]), false)
})
