// The auditor where all is well: it has looked, and finds nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { audit } from './audit.ts'
import { givenAudited } from './audited.ts'

test('where all is well the auditor finds nothing, also when a lost push may have arrived or not', async (t) => {
  const { input, builds, server, web } = await givenAudited(t)
  const statuses = Object.entries(builds).map(([name, { status }]) => `${name} ${status}`)
  assert.deepEqual(statuses, [
    'first ready',
    'failed failed',
    'lost ready',
    'cancelled cancelled',
    'newest ready',
    'gated ready',
  ])
  assert.equal((await server.db('attempts')).length, 8)
  assert.deepEqual(await audit(input), [])

  const last = input.pushes.findLast(
    ({ repository, ref }) => repository === 'web' && ref.endsWith('/main'),
  )!
  const pushes = input.pushes.filter((push) => push !== last)
  const lost = { ...last, outcome: 'unknown' as const }
  assert.deepEqual(await audit({ ...input, pushes: [...pushes, lost] }), [])
  const commit = await web.commit('never arrived')
  assert.deepEqual(await audit({ ...input, pushes: [...input.pushes, { ...lost, commit }] }), [])
})
