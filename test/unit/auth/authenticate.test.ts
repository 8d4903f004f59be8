import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAuthenticate, tokenCandidates } from '../../../server/auth/authenticate.ts'
import { createTokens } from '../../../server/auth/tokens.ts'

const tokens = createTokens({ secret: 'a secret of at least thirty-two characters' })
const authenticate = createAuthenticate({ tokens })
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`

test('a token is taken as Bearer, as Basic password with any user, and as Basic user alone', async () => {
  const token = await tokens.mintApi({ sub: 'ada' })
  for (const header of [
    `Bearer ${token}`,
    `bearer  ${token} `,
    basic(`whoever:${token}`),
    basic(`:${token}`),
    basic(`${token}:`),
  ]) {
    assert.equal((await authenticate(header)).user, 'ada', header.slice(0, 12))
  }
})

test('a missing header and one of another form are told apart', async () => {
  const code = 'unauthorized'
  await assert.rejects(authenticate(undefined), { code, message: 'authorization header required' })
  for (const header of [
    'Bearer',
    'Digest x',
    'Basic',
    'Basic !!!',
    basic('no-colon'),
    basic(':'),
  ]) {
    const message = 'invalid authorization header format'
    await assert.rejects(authenticate(header), { code, message }, header)
  }
})

test('a wrong password is not mended by a token as user', async () => {
  const token = await tokens.mintApi({ sub: 'ada' })
  await assert.rejects(authenticate(basic(`${token}:wrong`)), { message: 'invalid token' })
})

test('a password may contain colons', () => {
  assert.deepEqual(tokenCandidates(basic('user:pass:word')), ['pass:word', 'user'])
})
