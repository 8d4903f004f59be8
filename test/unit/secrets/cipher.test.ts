// Secrets at rest open only with their key, for their app and under their name.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError, readConfig } from '../../../server/config.ts'
import { createSecretCipher } from '../../../server/secrets/cipher.ts'
import { parseSecretsKey, readSecretsKey } from '../../../server/secrets/key.ts'

const OWNER = { appId: 'app1', id: 'npm_token' }

test('what was sealed opens again, and never looks the same twice', () => {
  const { seal, open } = createSecretCipher(randomBytes(32))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      const value = Buffer.from(bytes)
      const [first, second] = [seal(OWNER, value), seal(OWNER, value)]
      assert.deepEqual(open(OWNER, first), value)
      assert.notDeepEqual(first.nonce, second.nonce)
      assert.notDeepEqual(first.sealed, second.sealed)
      if (value.length > 3) assert.ok(!first.sealed.includes(value))
    }),
    { numRuns: 50 },
  )
})

test('another key is named, with what to do', () => {
  const sealed = createSecretCipher(randomBytes(32)).seal(OWNER, Buffer.from('hunter2!'))
  const other = createSecretCipher(randomBytes(32))
  assert.throws(() => other.open(OWNER, sealed), /npm_token was sealed with the key .*SECRETS_KEY/)
  const { keyId } = other.seal(OWNER, Buffer.alloc(1))
  assert.throws(() => other.open(OWNER, { ...sealed, keyId }), /npm_token is damaged/)
})

test('a row that was changed, cut, or moved to another app or name does not open', () => {
  const { seal, open } = createSecretCipher(randomBytes(32))
  const row = seal(OWNER, Buffer.from('hunter2!'))
  const flipped = (bytes: Buffer, at: number) => {
    const copy = Buffer.from(bytes)
    copy[at]! ^= 1
    return copy
  }
  for (let at = 0; at < row.sealed.length; at += 1) {
    assert.throws(() => open(OWNER, { ...row, sealed: flipped(row.sealed, at) }), /damaged/)
    assert.throws(() => open(OWNER, { ...row, sealed: row.sealed.subarray(0, at) }), /damaged/)
  }
  assert.throws(() => open(OWNER, { ...row, nonce: flipped(row.nonce, 0) }), /damaged/)
  assert.throws(() => open({ ...OWNER, appId: 'app2' }, row), /damaged/)
  assert.throws(() => open({ ...OWNER, id: 'other' }, row), /damaged/)
})

test('the key is made once, for its owner only, and a damaged file is refused', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hm-key-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'data/secrets-key')
  const key = await readSecretsKey({ configured: undefined, file })
  assert.equal(key.length, 32)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.deepEqual(await readSecretsKey({ configured: undefined, file }), key)
  await writeFile(file, 'short\n')
  await assert.rejects(readSecretsKey({ configured: undefined, file }), /secrets-key does not hold/)
  assert.deepEqual(await readSecretsKey({ configured: key, file }), key)
})

test('SECRETS_KEY is 32 bytes in hexadecimal or base64; a wrong one is refused and not shown', () => {
  const key = randomBytes(32)
  for (const form of ['hex', 'base64', 'base64url'] as const) {
    assert.deepEqual(parseSecretsKey(key.toString(form)), key)
    assert.deepEqual(readConfig({ SECRETS_KEY: key.toString(form) }).secretsKey, key)
  }
  const wrong = randomBytes(31).toString('hex')
  assert.throws(
    () => readConfig({ SECRETS_KEY: wrong }),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /^SECRETS_KEY=\(secret\) is not valid: must be 32 bytes/)
      assert.ok(!error.message.includes(wrong))
      return true
    },
  )
})
