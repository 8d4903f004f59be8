// What a guest may do to the services of the host.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { GUEST_CONNECTIONS_MAX } from '../../../server/limits.ts'
import { listenForGuest } from '../../../server/runners/services.ts'

test('a guest that connects without end does not take the open files of the server', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-services-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  let accepted = 0
  const count = () => {
    accepted += 1
  }
  const taken = new Map([[5000, count]])
  const services = await listenForGuest(taken, (port) => join(dir, String(port)), null)
  t.after(services.close)
  const dial = (): Socket => connect(join(dir, '5000')).on('error', () => {})
  const held = Array.from({ length: GUEST_CONNECTIONS_MAX }, dial)
  await Promise.all(held.map((socket) => once(socket, 'connect')))
  await once(dial().resume(), 'close')
  assert.equal(accepted, GUEST_CONNECTIONS_MAX)
})
