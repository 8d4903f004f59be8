import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pinBase, sourcePolicy, wrongBase } from '../../../agent/base-pin.ts'
import type { BuildConfig } from '../../../agent/protocol.ts'
import { givenConfig } from './given-config.ts'

const WANTED = `sha256:${'a'.repeat(64)}`
const OTHER = `sha256:${'b'.repeat(64)}`

function pin(t: TestContext, dockerfile: string, more: Partial<BuildConfig> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'pin-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'Dockerfile'), dockerfile)
  const config = givenConfig({ base_image_digest: WANTED, ...more })
  const pinned = pinBase(config, join(folder, 'Dockerfile'), folder)
  const file = pinned.ok ? pinned.policyFile : undefined
  return { pinned, policy: file && JSON.parse(readFileSync(file, 'utf8')) }
}

test('weakness 19: base_image_digest becomes a rule for the base of the final stage', (t) => {
  const { policy } = pin(t, 'FROM other AS tool\nFROM node:20 AS base\nFROM base\n')
  assert.deepEqual(policy, sourcePolicy('docker.io/library/node:20', WANTED))
  const updates = policy?.rules[0]?.updates
  assert.equal(updates?.identifier, `docker-image://docker.io/library/node:20@${WANTED}`)
})

test('a Dockerfile with another digest is refused with both', (t) => {
  const { pinned } = pin(t, `FROM node@${OTHER}`)
  assert.ok(!pinned.ok)
  assert.ok(pinned.error.includes(WANTED) && pinned.error.includes(OTHER), pinned.error)
})

test('the same digest needs no rule, and neither does a build without the wish', (t) => {
  assert.deepEqual(pin(t, `FROM node@${WANTED}`).pinned, { ok: true })
  const folder = tmpdir()
  assert.deepEqual(pinBase(givenConfig(), '/does/not/exist', folder), { ok: true })
})

test('a base that is not there or cannot be told is a sentence', (t) => {
  const scratch = pin(t, 'FROM a AS x\nFROM scratch\n').pinned
  assert.ok(!scratch.ok)
  assert.match(scratch.error, /final stage is FROM scratch and has no base image/)
  const unclear = pin(t, 'FROM a', { target: 'nowhere' }).pinned
  assert.ok(!unclear.ok)
  assert.match(unclear.error, /base image of the final stage is unclear: there is no stage nowhere/)
})

test('what BuildKit used is compared in the end', () => {
  const config = { base_image_digest: WANTED }
  assert.equal(wrongBase(config, WANTED), undefined)
  assert.equal(wrongBase({}, OTHER), undefined)
  assert.match(wrongBase(config, OTHER) ?? '', new RegExp(`${WANTED}, .* built on ${OTHER}`))
  assert.match(wrongBase(config, undefined) ?? '', /built on no base image/)
})
