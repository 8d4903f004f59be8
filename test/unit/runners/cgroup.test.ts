// Control groups of a pod, in a folder that stands for the kernel's.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createCgroup } from '../../../server/runners/cgroup.ts'
import { readRecord, recordedCgroup } from '../../../server/runners/pod-record.ts'
import { removeFolder } from '../../helpers/folders.ts'

const LIMITS = { memoryBytes: 64 * 1024 * 1024, tasks: 10, cpus: 1 }

test('a server that dies right after it made a control group has left it on record', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-cgroup-'))
  t.after(() => removeFolder(dir))
  let planned: string[] = []
  const cgroup = await createCgroup('pod-1', LIMITS, {
    root: dir,
    async onPlan(paths) {
      planned = paths
      assert.deepEqual(paths.filter(existsSync), [], 'before one is made')
    },
  })
  assert.notEqual(planned.length, 0)
  for (const path of cgroup.paths) assert.ok(planned.includes(path), path)

  const file = join(dir, 'record.json')
  const record = { id: `pod-${process.pid}`, processes: [], cgroups: [] }
  const made = await recordedCgroup(record, file, LIMITS)
  t.after(() => made.remove())
  const written = await readRecord(file)
  for (const path of made.paths) assert.ok(written?.cgroups.includes(path), path)
})
