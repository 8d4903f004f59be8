import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { probeMicroVm } from '../../server/setup/microvm-probe.ts'
import { ensureUsers } from '../../server/setup/users.ts'
import { testParts } from '../helpers/parts.ts'

/** The real parts with an empty memory. */
async function givenProbe(t: TestContext) {
  const cacheDir = await mkdtemp(join(tmpdir(), 'hm-probe-'))
  t.after(() => rm(cacheDir, { recursive: true, force: true }))
  const { vm } = await ensureUsers()
  return { parts: { ...(await testParts()), cacheDir }, user: vm }
}

test('a guest is booted once to its init, and the answer is remembered', async (t) => {
  const options = await givenProbe(t)
  const first = await probeMicroVm(options)
  assert.ok(first.accel, `no guest boots here: ${first.reasons.join('; ')}`)
  assert.ok(first.bootMs > 0)
  // Another QEMU that would fail proves that nothing is booted again.
  const again = await probeMicroVm({ ...options, parts: { ...options.parts, qemu: '/bin/false' } })
  assert.deepEqual(again, first)
})

test('where no guest boots the reasons are given, and the failure is not remembered', async (t) => {
  const options = await givenProbe(t)
  const parts = { ...options.parts, kernel: '/nowhere/vmlinuz' }
  const { accel, reasons } = await probeMicroVm({ ...options, parts })
  assert.equal(accel, null)
  assert.match(reasons.at(-1) ?? '', /^tcg: QEMU ended with exit code 1 .*\/nowhere\/vmlinuz/)
  assert.deepEqual(await readdir(parts.cacheDir), [])
})
