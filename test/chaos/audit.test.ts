// The auditor itself: it finds nothing where all is well, and each thing that is not by its name.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { audit } from './audit.ts'
import { givenAudited } from './audited.ts'

test('where all is well the auditor finds nothing', async (t) => {
  const { input, builds, server } = await givenAudited(t)
  assert.deepEqual(await audit(input), [])
  const statuses = Object.entries(builds).map(([name, { status }]) => `${name} ${status}`)
  assert.deepEqual(statuses, [])
  assert.deepEqual(await server.db('attempts').count(), [])
})
