// Old versions in a cache of parts: which go, and that none goes which somebody has.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createCache, readOnlyCache } from '../../../server/setup/cache.ts'
import { processIdentity } from '../../../server/setup/lock-file.ts'
import { holdParts } from '../../../server/setup/parts-in-use.ts'
import { sweepParts } from '../../../server/setup/sweep-parts.ts'

const HASH = 'abcdef012345'

async function givenCache(t: TestContext) {
  const dir = await mkdtemp(join(tmpdir(), 'hm-parts-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  /** A part that was used so many days ago. */
  const given = async (name: string, days: number) => {
    await mkdir(join(dir, name))
    await writeFile(join(dir, name, 'file'), '')
    await age(join(dir, name), days)
  }
  const parts = async () => (await readdir(dir)).filter((name) => !name.startsWith('.')).sort()
  return { dir, given, parts }
}

async function age(path: string, days: number): Promise<void> {
  const at = new Date(Date.now() - days * 24 * 3_600_000)
  await utimes(path, at, at)
}

const want = (version: string) => ({
  name: 'builder-disk',
  version,
  title: 'disk',
  repair: 'npm run setup',
  build: async () => {},
})

test('old versions of what changes often go; young ones and everything else stay', async (t) => {
  const { dir, given, parts } = await givenCache(t)
  const old = [
    `agent-${HASH}`,
    `client-go-git-${HASH}`,
    `builder-image-${HASH}`,
    `builder-${HASH}`,
    `builder-root-${HASH}`,
  ]
  for (const name of old) await given(name, 8)
  const stays = [`agent-111111111111`, `builder-base-${HASH}`, 'buildkit-v0.33.1', 'microvm-probe']
  for (const name of stays) await given(name, name.startsWith('agent') ? 6 : 800)
  await given(`.old-agent-${HASH}`, 1)
  assert.deepEqual((await sweepParts(dir)).sort(), [...old].sort())
  assert.deepEqual(await parts(), [...stays].sort())
  assert.deepEqual(
    (await readdir(dir)).filter((name) => name.startsWith('.')),
    [],
  )
})

test('a version that is used again is young again; one that was only looked at is not', async (t) => {
  const { dir, given, parts } = await givenCache(t)
  await given(`builder-disk-${HASH}`, 30)
  await given('builder-disk-222222222222', 30)
  await createCache(dir).part(want(HASH))
  await readOnlyCache(dir).part(want('222222222222'))
  await sweepParts(dir)
  assert.deepEqual(await parts(), [`builder-disk-${HASH}`])
})

test('a server that runs for months keeps its parts, and lets go of them when it stops', async (t) => {
  const { dir, given, parts } = await givenCache(t)
  await given(`builder-disk-${HASH}`, 30)
  await createCache(dir).part(want(HASH))
  const release = await holdParts((error) => assert.fail(String(error)))
  const aYear = { now: Date.now() + 365 * 24 * 3_600_000 }
  assert.deepEqual(await sweepParts(dir, aYear), [])
  await release()
  assert.deepEqual(await sweepParts(dir, aYear), [`builder-disk-${HASH}`])
  assert.deepEqual(await parts(), [])
})

test('what a dead server had goes after a while; one that can’t be seen from here has that while', async (t) => {
  const { dir, given } = await givenCache(t)
  const child = spawn('sleep', ['60'])
  const pid = String(child.pid)
  await mkdir(join(dir, '.servers'))
  const said = [await processIdentity(child.pid!), `agent-${HASH}`].join('\n')
  await writeFile(join(dir, '.servers', pid), said)
  await age(join(dir, '.servers', pid), 30)
  await given(`agent-${HASH}`, 30)
  assert.deepEqual(await sweepParts(dir), [], 'it lives')
  child.kill('SIGKILL')
  await once(child, 'exit')
  await age(join(dir, '.servers', pid), 1)
  assert.deepEqual(await sweepParts(dir), [], 'it said so yesterday')
  await age(join(dir, '.servers', pid), 30)
  assert.deepEqual(await sweepParts(dir), [`agent-${HASH}`])
  assert.deepEqual(await readdir(join(dir, '.servers')), [])
})

test('many sweeps and uses at once lose nothing that is used', async (t) => {
  const { dir, given } = await givenCache(t)
  const versions = Array.from({ length: 20 }, (_, n) => `abcdef0123${n + 10}`)
  for (const version of versions) await given(`builder-disk-${version}`, 30)
  const used = versions.slice(0, 10)
  const [, , ...folders] = await Promise.all([
    sweepParts(dir),
    sweepParts(dir),
    ...used.map((version) => createCache(dir).part(want(version))),
  ])
  for (const folder of folders) assert.ok((await stat(folder)).isDirectory(), folder)
  assert.equal((await readdir(dir)).filter((name) => name.startsWith('builder')).length, 10)
})
