import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createCache,
  type PartSpec,
  readOnlyCache,
  SetupError,
} from '../../../server/setup/cache.ts'

async function givenCacheDir(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-cache-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const part = (build: PartSpec['build']): PartSpec => ({
  name: 'thing',
  version: '1.2',
  title: 'thing 1.2',
  repair: 'npm run setup',
  build,
})

test('a part that two ask for at once is built once, and both get it', async (t) => {
  const dir = await givenCacheDir(t)
  let builds = 0
  const spec = part(async (into) => {
    builds += 1
    await sleep(50)
    await writeFile(join(into, 'file'), 'content')
  })
  const [one, two] = await Promise.all([createCache(dir).part(spec), createCache(dir).part(spec)])
  assert.equal(builds, 1)
  assert.equal(one, two)
  assert.equal(await readFile(join(one, 'file'), 'utf8'), 'content')
  assert.deepEqual(await readdir(dir), ['thing-1.2'])
})

test('a build that fails leaves nothing, says what to do, and the next one may succeed', async (t) => {
  const dir = await givenCacheDir(t)
  const failing = part(async (into) => {
    await writeFile(join(into, 'half'), '')
    throw new Error('no space left')
  })
  await assert.rejects(createCache(dir).part(failing), (error: SetupError) => {
    assert.ok(error instanceof SetupError)
    assert.equal(error.message, 'thing 1.2 failed: no space left\nTo repair: npm run setup')
    return true
  })
  assert.deepEqual(await readdir(dir), [])
  await createCache(dir).part(part(async () => {}))
  assert.deepEqual(await readdir(dir), ['thing-1.2'])
})

test('what a killed builder left is cleared away, and its lock does not block', async (t) => {
  const dir = await givenCacheDir(t)
  const dead = spawn('true')
  await once(dead, 'exit')
  await writeFile(join(dir, '.lock-thing'), `${dead.pid} 12345`)
  await mkdir(join(dir, '.build-thing-abc'))
  await createCache(dir).part(part(async () => {}))
  assert.deepEqual(await readdir(dir), ['thing-1.2'])
})

test('a lock of a living process with the same pid but another start is taken over', async (t) => {
  const dir = await givenCacheDir(t)
  await writeFile(join(dir, '.lock-thing'), `${process.pid} 1`)
  await createCache(dir).part(part(async () => {}))
  assert.deepEqual(await readdir(dir), ['thing-1.2'])
})

test('a look at the cache builds nothing', async (t) => {
  const dir = await givenCacheDir(t)
  const spec = part(() => assert.fail('built'))
  await assert.rejects(readOnlyCache(dir).part(spec), { reason: `not in ${dir}` })
  assert.deepEqual(await readdir(dir), [])
})
