import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { baseImages, finalBaseDigest, lockfileHashes } from '../../../agent/provenance.ts'
import { recorded, replay } from './recorded.ts'

const REGISTRY = { registry_url: 'localhost:5000', registry_public_name: 'hub.example:8083' }
const BASE = 'sha256:210b2084670a566876bcc81ed52936150e03c3eb8d5392cf77a7c06d23bc0d39'

test('every base image that was used is recorded by digest, our registry by its public name', () => {
  const { facts } = replay(recorded('two-bases'))
  assert.deepEqual(baseImages(facts.vertices, REGISTRY), [
    { ref: 'hub.example:8083/library/base:1', digest: BASE },
  ])
  assert.equal(finalBaseDigest(facts.vertices), BASE)
})

test('cached base images count as well', () => {
  const { facts } = replay(recorded('cached'))
  assert.equal(baseImages(facts.vertices, REGISTRY).length, 1)
})

test('an image from scratch has no base, also when it copies from a stage that has one', () => {
  const vertices = new Map(
    [
      { digest: 'a', name: `[build 1/2] FROM docker.io/library/x:1@${BASE}`, completed: 'z' },
      { digest: 'b', name: '[build 2/2] RUN make', inputs: ['a'], completed: 'z' },
      { digest: 'c', name: '[stage-1 1/1] COPY --from=build /x /x', inputs: ['b'], completed: 'z' },
    ].map((vertex) => [vertex.digest, vertex]),
  )
  assert.equal(finalBaseDigest(vertices), undefined)
  assert.equal(finalBaseDigest(replay(recorded('three-stages')).facts.vertices), undefined)
  assert.equal(baseImages(vertices, REGISTRY)[0]?.ref, 'docker.io/library/x:1')
})

test('every image of FROM, COPY --from and a mount counts, each once, and the base is the final stage’s', () => {
  const { facts } = replay(recorded('stages-and-mounts'))
  const base = 'sha256:db2081aaf9e6943b7063d4ef01babfe8bc4857f3e2c90d8e07b2c0c7a4ff6b0b'
  assert.deepEqual(baseImages(facts.vertices, REGISTRY), [
    {
      ref: 'hub.example:8083/library/other:1',
      digest: 'sha256:50d177412f499ca3787ab722377c5af961d75a05f441dc7c3cfebf2b163bedc9',
    },
    { ref: 'hub.example:8083/library/base:1', digest: base },
  ])
  assert.equal(finalBaseDigest(facts.vertices), base)
})

test('the base is found under layers that are linked, not stacked', () => {
  const { facts } = replay(recorded('copy-link'))
  assert.equal(
    finalBaseDigest(facts.vertices),
    'sha256:db2081aaf9e6943b7063d4ef01babfe8bc4857f3e2c90d8e07b2c0c7a4ff6b0b',
  )
})

test('lock files at the top of the source are hashed; links are not followed', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'provenance-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'yarn.lock'), 'abc')
  symlinkSync('/etc/hostname', join(folder, 'package-lock.json'))
  const sha256 = createHash('sha256').update('abc').digest('hex')
  assert.deepEqual(lockfileHashes(folder), { 'yarn.lock': `sha256:${sha256}` })
})
