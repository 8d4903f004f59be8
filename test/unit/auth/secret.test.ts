import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readSecret } from '../../../server/auth/secret.ts'

async function givenFolder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-secret-'))
  t.after(() => rm(dir, { recursive: true }))
  return dir
}

test('a secret is made once, for its owner only, and kept', async (t) => {
  const dir = await givenFolder(t)
  const file = join(dir, 'data', 'jwt-secret')
  const first = await readSecret({ configured: undefined, file })
  assert.ok(first.length >= 32)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.equal(await readSecret({ configured: undefined, file }), first)
  assert.deepEqual(await readdir(join(dir, 'data')), ['jwt-secret'])
})

test('starters at the same moment agree on one secret', async (t) => {
  const file = join(await givenFolder(t), 'jwt-secret')
  const all = await Promise.all(
    Array.from({ length: 8 }, () => readSecret({ configured: undefined, file })),
  )
  assert.equal(new Set(all).size, 1)
})

test('a configured secret needs no file and makes none', async (t) => {
  const dir = await givenFolder(t)
  const configured = 'x'.repeat(32)
  assert.equal(await readSecret({ configured, file: join(dir, 'jwt-secret') }), configured)
  assert.deepEqual(await readdir(dir), [])
})

test('an empty or cut secret file is refused, not used', async (t) => {
  const file = join(await givenFolder(t), 'jwt-secret')
  for (const content of ['', '\n', 'short\n']) {
    await writeFile(file, content)
    await assert.rejects(
      readSecret({ configured: undefined, file }),
      /jwt-secret holds \d+ characters/,
    )
  }
})
