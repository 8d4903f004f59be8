// What a mirror did for a build reaches the worker that runs it, also when it is on another machine.
import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import type { MirrorEvent } from '../../server/mirror/mirror.ts'
import { NOTE_HEADER, noteOf, readNote } from '../../server/mirror/note-header.ts'
import { createMirrorNotes } from '../../server/mirror/notes.ts'
import { createRegistryRelay } from '../../server/registry/relay.ts'
import { silent } from '../helpers/database.ts'
import { givenHub, givenMirror, HUB } from '../helpers/hub.ts'
import { MANIFEST_TYPE, pushImage } from '../helpers/oci.ts'
import { bearer, buildToken, listen, member } from '../helpers/registry.ts'

test('a worker’s relay tells of images that came through the server’s mirror, and keeps it from the guest', async (t) => {
  const hub = await givenHub(t)
  await pushImage({ url: hub.direct, repo: 'library/app', headers: {} }, 'v1')
  const house = await givenMirror(t, hub)
  const notes = createMirrorNotes()
  const relay = createRegistryRelay({ url: house.url, log: silent, onMirrored: notes.add })
  const url = await listen(
    t,
    http.createServer((req, res) => void relay(req, res)),
  )
  const lines: string[] = []
  const others: string[] = []
  t.after(notes.follow('acme1', (line) => lines.push(line)))
  t.after(notes.follow('acme2', (line) => others.push(line)))
  const get = async (name: string, token: string) => {
    const headers = { ...bearer(token), accept: MANIFEST_TYPE }
    return fetch(`${url}/v2/mirror/${HUB}/${name}`, { headers })
  }
  const own = await buildToken()
  const got = await get('library/app/manifests/v1', own)
  assert.equal(got.status, 200)
  assert.equal(got.headers.get(NOTE_HEADER), null)
  await got.arrayBuffer()
  const none = await get('library/app/manifests/v2', own)
  assert.equal(none.status, 404)
  assert.equal(lines.length, 2, String(lines))
  assert.equal(lines[0], `${HUB}/library/app:v1 comes from its registry, through the mirror`)
  assert.match(lines[1]!, /^warning: the mirror does not have hub\.test\/library\/app:v2: /)
  assert.deepEqual(others, [])

  const headers = { ...bearer(await member('acme')), accept: MANIFEST_TYPE }
  const direct = await fetch(`${house.url}/v2/mirror/${HUB}/library/app/manifests/v1`, { headers })
  assert.equal(direct.status, 200)
  assert.equal(direct.headers.get(NOTE_HEADER), null, 'it is of no build')
})

test('a note that is none, or too long for a header, is no note', () => {
  const event: MirrorEvent = {
    host: 'docker.io',
    image: 'docker.io/library/ä:1',
    buildId: 'b1',
    outcome: 'stale',
    why: 'it\r\nsaid “no”',
  }
  assert.match(noteOf(event)!, /^[\w-]+$/)
  assert.deepEqual(readNote(noteOf(event)), event)
  assert.equal(noteOf({ ...event, why: 'x'.repeat(10_000) }), undefined)
  for (const text of [undefined, '', '{', 'e30', ['a']]) assert.equal(readNote(text), undefined)
})
