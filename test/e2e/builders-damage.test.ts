// What must not cost a build, in real guests: a VM killed while it saves, and state that BuildKit cannot use on a
// disk that mounts well.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { built, givenBuilderApp, untilFree } from '../helpers/builder-app.ts'
import { leftovers, qemuPids } from '../helpers/leftovers.ts'
import { testParts } from '../helpers/parts.ts'

/** Other bytes in one of BuildKit's files. The disk is nobody's, and this is no host of guests but a test. */
async function damage(t: TestContext, image: string, path: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-damage-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const garbage = join(dir, 'garbage')
  await writeFile(garbage, Buffer.alloc(64 * 1024, 0xa5))
  const commands = join(dir, 'commands')
  await writeFile(
    commands,
    `cd ${dirname(path)}\nrm ${path}\nwrite ${garbage} ${path}\nstat ${path}\n`,
  )
  const { mkfsExt4 } = await testParts()
  const debugfs = join(dirname(mkfsExt4), 'debugfs')
  const { stdout } = await execa(debugfs, ['-w', '-f', commands, image])
  assert.match(stdout, /Size: 65536/)
}

test('a VM killed while it saves, and state that BuildKit cannot use, cost a cold build and never a failed one', async (t) => {
  const env = await givenBuilderApp(t)
  const { server, files } = env
  const root = join(server.dataDir, 'builders')
  const first = await built(env, 'one')
  assert.equal(first.build.status, 'ready', first.build.error)
  const good = `${first.build.id}-1`
  assert.equal((await untilFree(server)).generation, good)

  await t.test('killed while it saves: the old state stays, and nothing else', async () => {
    const second = await built(env, 'two')
    assert.equal(second.build.status, 'ready', second.build.error)
    const [saving] = await server.sql('select 1 from builders where saving_until is not null')
    assert.ok(saving, 'it is being saved')
    const [pid] = await qemuPids(server.pid)
    process.kill(pid!, 'SIGKILL')
    assert.equal((await untilFree(server)).generation, good)
    assert.deepEqual(
      (await files()).map((name) => name.split('/')[1]),
      [`${good}.img`],
    )
    assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  })

  await t.test(
    'a daemon that does not start goes on without the disk, in the same guest',
    async () => {
      await damage(t, join(root, (await files())[0]!), '/runc-overlayfs/containerdmeta.db')
      const { build, lines } = await built(env, 'three')
      assert.equal(build.status, 'ready', build.error)
      assert.equal(build.attempt, 1, lines.join('\n'))
      const said = lines.find((line) => line.includes('starts anew'))
      assert.match(said ?? '', /BuildKit does not start on it \(.*invalid database/)
      assert.ok(lines.includes('cache has: three'), lines.join('\n'))
      assert.notEqual(build.provenance?.cache?.source, 'builder')
      assert.equal((await untilFree(server)).generation, null)
    },
  )

  await t.test('the next one has a disk again', async () => {
    const { build } = await built(env, 'four')
    assert.equal((await untilFree(server)).generation, `${build.id}-1`)
    for (let i = 0; i < 50 && (await files()).length > 1; i += 1) await sleep(100)
  })

  await t.test(
    'a daemon that starts and cannot build is tried once more without the disk',
    async () => {
      await damage(t, join(root, (await files())[0]!), '/runc-overlayfs/snapshots/metadata.db')
      const { build, lines } = await built(env, 'five')
      assert.equal(build.status, 'ready', build.error)
      assert.equal(build.attempt, 2)
      assert.ok(
        lines.some((line) => /own state is broken: .*; once more without the builder$/.test(line)),
        lines.join('\n'),
      )
      assert.equal((await untilFree(server)).generation, null)
    },
  )
})
