// Secrets as files: whose they are, and that no name leads out of their folders.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { SECRET_BYTES_MAX } from '../../../server/limits.ts'
import { createFileSecrets } from '../../../server/secrets/file-secrets.ts'
import { firstOf, noSecrets, type SecretProvider } from '../../../server/secrets/provider.ts'

const ACME = { tenant: 'acme' }

async function givenFolder(t: TestContext, files: Record<string, string> = {}): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'hm-secrets-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const folder = join(root, 'secrets')
  await mkdir(folder)
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
  return folder
}

function texts(found: Map<string, Buffer>): Record<string, string> {
  return Object.fromEntries([...found].map(([id, value]) => [id, value.toString()]))
}

test('weakness 8: a tenant has its own secrets and the shared ones, and nobody else’s', async (t) => {
  const folder = await givenFolder(t, {
    'acme/npm_token': 'of acme\n',
    'shared/npm_token': 'of all',
    'shared/mirror': 'for all',
    'other/deploy_key': 'of other',
    top_level: 'of nobody',
  })
  const files = createFileSecrets({ folder })
  const ids = ['npm_token', 'mirror', 'deploy_key', 'top_level']
  assert.deepEqual(texts(await files.resolve(ids, ACME)), {
    npm_token: 'of acme\n',
    mirror: 'for all',
  })
  assert.deepEqual(texts(await files.resolve(ids, { tenant: 'other' })), {
    npm_token: 'of all',
    mirror: 'for all',
    deploy_key: 'of other',
  })
})

test('weakness 8: no id and no tenant leads out of the folder', async (t) => {
  const folder = await givenFolder(t, { 'acme/ok': 'fine', '../outside': 'outside' })
  const files = createFileSecrets({ folder })
  const ids = ['../../outside', '..', '.', '/etc/passwd', 'a/../ok', 'ok\0', 'ok\n', '', '.hidden']
  assert.equal((await files.resolve(ids, ACME)).size, 0)
  for (const tenant of ['..', '../secrets/acme', 'acme/../acme', '', 'ac\0me']) {
    assert.equal((await files.resolve(['ok', 'outside'], { tenant })).size, 0, tenant)
  }
})

test('weakness 8: a link is refused with a sentence, as file and as folder, and never followed', async (t) => {
  const folder = await givenFolder(t, { '../outside/token': 'outside', 'acme/real': 'fine' })
  await symlink('../../outside/token', join(folder, 'acme/token'))
  await symlink('../outside', join(folder, 'linked'))
  const files = createFileSecrets({ folder })
  await assert.rejects(files.resolve(['token'], ACME), /acme\/token cannot be used: .*link/)
  await assert.rejects(files.resolve(['token'], { tenant: 'linked' }), /linked\/token .*link/)
})

test('what is no regular file, or too large, is an error and not a missing secret', async (t) => {
  const big = 'x'.repeat(SECRET_BYTES_MAX + 1)
  const folder = await givenFolder(t, {
    'acme/big': big,
    'acme/most': big.slice(1),
    'shared/dir/x': '',
  })
  execFileSync('mkfifo', [join(folder, 'acme/pipe')])
  const files = createFileSecrets({ folder })
  await assert.rejects(files.resolve(['big'], ACME), /acme\/big is larger than 65536 bytes/)
  await assert.rejects(files.resolve(['pipe'], ACME), /acme\/pipe is not a regular file/)
  await assert.rejects(files.resolve(['dir'], ACME), /shared\/dir is not a regular file/)
  assert.equal((await files.resolve(['most'], ACME)).get('most')?.length, SECRET_BYTES_MAX)
})

test('a folder that is not there holds nothing', async (t) => {
  const files = createFileSecrets({ folder: join(await givenFolder(t), 'missing') })
  assert.equal((await files.resolve(['token'], ACME)).size, 0)
})

test('the first provider that has an id wins, and is the only one asked for it', async () => {
  const asked: string[] = []
  const of = (name: string, ...known: string[]): SecretProvider => ({
    async resolve(ids) {
      asked.push(`${name}: ${ids}`)
      return new Map(ids.filter((id) => known.includes(id)).map((id) => [id, Buffer.from(name)]))
    },
  })
  const all = firstOf([noSecrets, of('app', 'a'), of('file', 'a', 'b')])
  assert.deepEqual(texts(await all.resolve(['a', 'b', 'c'], ACME)), { a: 'app', b: 'file' })
  assert.deepEqual(asked, ['app: a,b,c', 'file: b,c'])
})
