import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRevocation } from '../../server/auth/revocation.ts'
import { createTokens } from '../../server/auth/tokens.ts'
import { isDatabaseGone } from '../../server/db/gone.ts'
import { createDb } from '../../server/db/pool.ts'
import { cuttable } from '../helpers/cut-database.ts'
import { givenDatabase } from '../helpers/database.ts'

const inAnHour = () => new Date(Date.now() + 3_600_000)

test('a revoked token is refused at once where it was revoked, and by a server that starts later', async (t) => {
  const { db } = await givenDatabase(t)
  const secret = 'a secret of at least thirty-two characters'
  const revocation = createRevocation({ db })
  const tokens = createTokens({ secret, isRevoked: revocation.isRevoked })
  const token = await tokens.mintApi({ sub: 'ada' })
  const { jti } = await tokens.verifyApi(token)

  await revocation.revoke(jti, inAnHour())

  await assert.rejects(tokens.verifyApi(token), { message: 'token revoked' })
  const later = createTokens({ secret, isRevoked: createRevocation({ db }).isRevoked })
  await assert.rejects(later.verifyApi(token), { message: 'token revoked' })
})

test('a database that keeps its connections and says nothing is unavailable, and not waited for without end', async (t) => {
  const way = await cuttable(t, (await givenDatabase(t)).url)
  const db = createDb(way.url)
  try {
    const { isRevoked } = createRevocation({ db, deadlineMs: 1_000 })
    await db.raw('select 1')
    way.silence()
    await assert.rejects(isRevoked('j1'), isDatabaseGone)
    await way.cut()
    await way.restore()
    assert.equal(await isRevoked('j1'), false)
  } finally {
    await db.destroy()
  }
})

test('revoking twice is fine, by token and by id', async (t) => {
  const { db } = await givenDatabase(t)
  const revocation = createRevocation({ db })
  await revocation.revoke('j1', 'infinity')
  await revocation.revoke('j1', inAnHour())
  assert.ok(await revocation.isRevoked('j1'))
  assert.ok(!(await revocation.isRevoked('j2')))
})

test('a revocation is forgotten days after its token has expired, one without known end never', async (t) => {
  const { db } = await givenDatabase(t)
  const revocation = createRevocation({ db })
  await revocation.revoke('old', new Date(Date.now() - 8 * 24 * 3_600_000))
  await revocation.revoke('ended', new Date(Date.now() - 1000))
  await revocation.revoke('forever', 'infinity')
  await revocation.revoke('new', inAnHour())
  assert.deepEqual(await db('revoked_tokens').orderBy('jti').pluck('jti'), [
    'ended',
    'forever',
    'new',
  ])
})
