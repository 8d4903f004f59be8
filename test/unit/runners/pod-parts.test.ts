import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseOwnGroups } from '../../../server/runners/cgroup.ts'
import { createConsoleRing } from '../../../server/runners/console-ring.ts'
import {
  describeProcess,
  killRecorded,
  readRecord,
  writeRecord,
} from '../../../server/runners/pod-record.ts'
import type { Runner } from '../../../server/runners/runner.ts'
import { selectRunner } from '../../../server/runners/select.ts'

test('the console keeps its end, however it was written', () => {
  const ring = createConsoleRing(10)
  assert.equal(ring.text(), '')
  for (const char of 'abcdefghijklmnopqrstuvwxyz') ring.write(Buffer.from(char))
  assert.equal(ring.text(), 'qrstuvwxyz')
  ring.write(Buffer.from('0123456789ABCDEF'))
  assert.equal(ring.text(), '6789ABCDEF')
  ring.write(Buffer.from('!'))
  assert.equal(ring.text(), '789ABCDEF!')
})

test('words on the console are noticed, also when they arrive in pieces', async () => {
  const ring = createConsoleRing(100)
  const printed = ring.printed('is listening')
  let seen = false
  void printed.then(() => {
    seen = true
  })
  ring.write(Buffer.from('agent is lis'))
  await new Promise(setImmediate)
  assert.equal(seen, false)
  ring.write(Buffer.from('tening\n'))
  await printed
})

test('a recorded process is ended, and one that got its number later is not', async (t) => {
  const child = spawn('sleep', ['60'])
  t.after(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  const record = await describeProcess('sleep', child.pid!)
  assert.ok(record)
  await killRecorded({ ...record, startTicks: '1' })
  assert.equal(child.exitCode ?? child.signalCode, null, 'another process was killed')
  await killRecorded(record)
  if (child.signalCode === null) await once(child, 'exit')
  assert.equal(child.signalCode, 'SIGKILL')
  await killRecorded(record)
})

test('a process that does not exist has no record', async () => {
  assert.equal(await describeProcess('gone', 2 ** 22 + 1), undefined)
})

test('a record is read back, and a broken one kills nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'record-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'record.json')
  const record = { id: 'b-1', processes: [{ name: 'q', pid: 9, startTicks: '5' }], cgroups: ['/c'] }
  await writeRecord(file, record)
  assert.deepEqual(await readRecord(file), record)
  assert.ok(!existsSync(`${file}.new`))
  for (const text of ['', '{', '{"id":"b","processes":[{"pid":1}],"cgroups":[]}']) {
    writeFileSync(file, text)
    assert.equal(await readRecord(file), undefined)
  }
  assert.equal(await readRecord(join(folder, 'none')), undefined)
})

test('own control groups are known for both versions', () => {
  const text = '9:name=systemd:/x\n5:cpu,cpuacct:/a\n4:memory:/b:c\n0::/system.slice/h.service\n'
  const groups = parseOwnGroups(text)
  assert.equal(groups.get('cpuacct'), '/a')
  assert.equal(groups.get('memory'), '/b:c')
  assert.equal(groups.get(''), '/system.slice/h.service')
})

function givenRunner(
  name: string,
  reason: string | null,
  boundary: Runner['boundary'] = 'machine',
): Runner {
  return {
    name,
    boundary,
    releaseData: async () => ({}),
    unusableReason: async () => reason,
    start: () => Promise.reject(new Error('not in this test')),
    sweep: async () => [],
    close: async () => {},
  }
}

test('auto takes the first usable runner, a name only its own, and refusal tells every reason', async () => {
  const broken = givenRunner('qemu', 'no guest boots')
  const other = givenRunner('other', null)
  assert.equal((await selectRunner('auto', [broken, other])).name, 'other')
  await assert.rejects(selectRunner('qemu', [broken, other]), {
    code: 'runner_unusable',
    message: /RUNNER=qemu can't be used: qemu: no guest boots/,
  })
  await assert.rejects(selectRunner('auto', []), /no runner of this name/)
})

test('auto never takes a runner on the shared kernel, its name does', async () => {
  const broken = givenRunner('qemu', 'no guest boots')
  const weaker = givenRunner('bubblewrap', null, 'shared kernel')
  await assert.rejects(selectRunner('auto', [weaker, broken]), /qemu: no guest boots/)
  assert.equal((await selectRunner('bubblewrap', [broken, weaker])).name, 'bubblewrap')
})
