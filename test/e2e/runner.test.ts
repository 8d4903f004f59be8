// The QEMU runner: what every runner does, and what only a VM has.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { givenRunner, podSpec, sourceTar } from '../helpers/pods.ts'
import { givenFolder, never, readPodRecord, testRunner } from '../helpers/runner-behaviour.ts'

testRunner({
  name: 'qemu',
  processes: ['vhost-device-vsock', 'qemu'],
  main: 'qemu',
  sockets: ['vm', 'vm_5000'],
  bootMs: 1_000,
  async checkRights({ name, pid }, vmUid) {
    const text = await readFile(`/proc/${pid}/status`, 'utf8')
    assert.match(text, /^NoNewPrivs:\s+1$/m, name)
    if (name === 'qemu') assert.match(text, /^Seccomp:\s+2$/m)
    if (vmUid === null) return
    assert.match(text, new RegExp(`^Uid:\\s+${vmUid}\\s+${vmUid}\\s`, 'm'), name)
    assert.match(text, /^CapEff:\s+0+$/m, name)
    assert.match(text, /^CapBnd:\s+0+$/m, name)
  },
})

test('a VM whose vsock device dies is ended with it', async (t) => {
  const { runner, runDir } = await givenRunner(t)
  const source = await sourceTar(await givenFolder(t), 'hello')
  const pod = await runner.start(podSpec('deaf', source), never())
  const { processes } = await readPodRecord(runDir, pod.id)
  process.kill(processes.find(({ name }) => name === 'vhost-device-vsock')!.pid, 'SIGKILL')
  const exit = await pod.exited
  assert.equal(exit.stopped, false)
  await pod.stop()
})

test('a VM and a vsock device that stand still are ended with their pod, and nothing is left', async (t) => {
  const { runner, runDir, remains } = await givenRunner(t)
  const source = await sourceTar(await givenFolder(t), 'hello')
  const pod = await runner.start(podSpec('frozen', source), never())
  const { processes } = await readPodRecord(runDir, pod.id)
  for (const { pid } of processes) process.kill(pid, 'SIGSTOP')
  await pod.stop()
  assert.deepEqual(await pod.exited, { code: null, signal: 'SIGKILL', stopped: true })
  assert.deepEqual(await remains(), [])
})
