// The auditor where all is well: it has looked, and finds nothing.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkLimits } from './audit/limits.ts'
import { cgroupsOf, mountsBelow } from './audit/machine.ts'
import { audit } from './audit.ts'
import { givenAudited } from './audited.ts'

test('where all is well the auditor finds nothing, also when a lost push may have arrived or not', async (t) => {
  const { input, builds, server, web } = await givenAudited(t)
  const statuses = Object.entries(builds).map(([name, { status }]) => `${name} ${status}`)
  assert.deepEqual(statuses, [
    'first ready',
    'failed failed',
    'lost ready',
    'cancelled cancelled',
    'newest ready',
    'gated ready',
  ])
  assert.equal((await server.db('attempts')).length, 8)
  assert.deepEqual(await audit(input), [])

  const last = input.pushes.findLast(
    ({ repository, ref }) => repository === 'web' && ref.endsWith('/main'),
  )!
  const pushes = input.pushes.filter((push) => push !== last)
  // git says so when a connection breaks as well.
  const detail = 'fatal: the remote end hung up unexpectedly\nEverything up-to-date'
  const lost = { ...last, outcome: 'unknown' as const, detail }
  assert.deepEqual(await audit({ ...input, pushes: [...pushes, lost] }), [])
  const again = { ...last, detail: 'Everything up-to-date' }
  assert.deepEqual(await audit({ ...input, pushes: [...pushes, lost, again] }), [])
  const commit = await web.commit('never arrived')
  assert.deepEqual(await audit({ ...input, pushes: [...input.pushes, { ...lost, commit }] }), [])
})

test('mounts below a data folder and control groups of its builds are found', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-machine-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const table = join(dir, 'mountinfo')
  const mount = (point: string) => `36 35 98:0 / ${point} rw,noatime - ext4 /dev/loop0 rw\n`
  await writeFile(table, ['/', '/data', '/data/pods/x', '/data2/pods/x'].map(mount).join(''))
  assert.deepEqual(await mountsBelow(['/data', '/run/x'], table), ['mount /data/pods/x'])
  assert.deepEqual(await mountsBelow(['/no such folder']), [], 'the real table can be read')

  const groups = join(dir, 'memory/service/hypeman-pods')
  for (const name of ['ours-2', 'another-1']) await mkdir(join(groups, name), { recursive: true })
  const found = await cgroupsOf([{ id: 'ours' }], dir)
  assert.deepEqual(found, [`control group ${join(groups, 'ours-2')}`])
})

test('a worker may have another build once the lease of one is over, before that is taken back', () => {
  const attempt = (build_id: string, from: number, until: number, outcome: string) => {
    return { build_id, tenant: 'acme', attempt: 1, worker: 'w', from, until, outcome }
  }
  const limits = { perWorkerSlots: { w: 1 } }
  const after = attempt('b', 5, 9, 'built')
  assert.deepEqual(checkLimits({ attempts: [attempt('a', 0, 7, 'lost'), after] }, { limits }), [])
  const [found] = checkLimits({ attempts: [attempt('a', 0, 7, 'built'), after] }, { limits })
  assert.match(found?.what ?? '', /^2 of at most 1 builds on worker w/)
})
