// Following a queued build: why it waits is said, and said again when it changes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BuildLog } from '../../../server/builds/log.ts'
import type { Build, BuildEvent } from '../../../server/builds/schema.ts'
import { createBuildFollower } from '../../../server/git/follow-build.ts'

test('who pushes while the disk is low is told why the build waits', async () => {
  const reason = 'this server is low on disk (1.2 GiB free, 2.5 GiB needed)'
  const lines: string[] = []
  let onReason = () => {}
  const told = new Promise<void>((resolve) => {
    onReason = resolve
  })
  async function* follow(): AsyncGenerator<BuildEvent> {
    yield { seq: 1, at: new Date(), type: 'status', status: 'queued' }
    await told
    yield { seq: 2, at: new Date(), type: 'status', status: 'cancelled' }
  }
  const build = { id: 'b1', status: 'cancelled', attempt: 0, created_at: new Date(0).toISOString() }
  const follower = createBuildFollower({
    buildId: 'b1',
    buildLog: { follow } as unknown as BuildLog,
    position: async () => 1,
    waitReason: async () => reason,
    show: async () => build as Build,
    links: { baseUrl: 'http://localhost' },
    gatedBranch: undefined,
    detached: false,
    quiet: false,
  })
  const print = async (some: readonly string[]) => {
    lines.push(...some)
    if (some.some((line) => line.includes('low on disk'))) onReason()
  }
  await follower.follow(print, new AbortController().signal)
  const at = lines.indexOf('       queued, position 1')
  assert.equal(lines[at + 1], `       queued: ${reason}; it goes on by itself`)
  assert.equal(lines.filter((line) => line.includes('low on disk')).length, 1)
})
