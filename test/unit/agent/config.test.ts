import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseConfig, readConfigDevice } from '../../../agent/config.ts'
import { configSectors } from '../../../server/disks/config-disk.ts'
import { givenConfig } from './given-config.ts'

test('what the host writes on the configuration disk is what the agent reads', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'disk')
  // Whole sectors of text and one byte less: the end must be found in both.
  for (const length of [1, 100, 511, 512, 513, 200_000, 1_000_000]) {
    const config = givenConfig({ dockerfile: `FROM scratch\n# ${'ä'.repeat(length)}\n` })
    const sectors = configSectors(config)
    assert.equal(sectors.length % 512, 0)
    writeFileSync(file, sectors)
    assert.deepEqual(parseConfig(readConfigDevice(file)), config)
  }
})

test('a configuration of an unexpected shape is refused with the name of the field', () => {
  const bad: [string, unknown][] = [
    ['registry_url', 'localhost:5000,push=false'],
    ['image_repository', 'builds/x,name=library/node'],
    ['image_repository', '../library/node'],
    ['source_path', '/src,foo=bar'],
    ['dockerfile_path', '../../config/build.json'],
    ['dockerfile_path', '/etc/passwd'],
    ['target', 'a b'],
    ['build_args', { BUILDKIT_SYNTAX: 'evil' }],
    ['build_args', { 'a=b': 'c' }],
    ['build_args', { A: 1 }],
    ['build_args', ['x']],
    ['labels', { 'a b': 'c' }],
    ['network_mode', 'host'],
    ['channel_key', undefined],
    ['channel_key', 'short'],
    ['base_image_digest', 'sha256:abc'],
    ['platform', 'linux/amd64,linux/arm64'],
    ['timeout_seconds', '5'],
    ['secrets', { id: 'a' }],
    ['secrets', [{ id: 'a,src=/config/build.json' }]],
    ['secrets', [{ id: '../a' }]],
    ['secrets', [{ id: 'a', env_var: 'A,B' }]],
    ['secrets_nonce', 'short'],
    ['job_id', undefined],
    ['ca_certificates', 5],
  ]
  const given = givenConfig({ secrets: [], secrets_nonce: 'n'.repeat(43) })
  assert.deepEqual(parseConfig(JSON.stringify(given)), given)
  for (const [field, value] of bad) {
    const text = JSON.stringify({ ...given, [field]: value })
    assert.throws(() => parseConfig(text), new RegExp(`field ${field}`), `${field} ${value}`)
  }
})

test('a repository that git could take for an option, or without a way out, is refused', () => {
  const url = 'https://git.example.org/app.git'
  const repo = { url, ref: 'refs/heads/main', commit: 'c'.repeat(40), secret: 'git_token' }
  const given = givenConfig({ network_mode: 'egress', repo, secrets_nonce: 'n'.repeat(43) })
  assert.deepEqual(parseConfig(JSON.stringify(given)), given)
  const bad: [object, string][] = [
    [{ repo: { ...repo, url: 'ext::sh -c id' } }, 'repo.url'],
    [{ repo: { ...repo, url: 'https://ada:secret@git.example.org/app' } }, 'repo.url'],
    [{ repo: { ...repo, ref: '--upload-pack=id' } }, 'repo.ref'],
    [{ repo: { ...repo, ref: 'main:main' } }, 'repo.ref'],
    [{ repo: { ...repo, commit: 'HEAD' } }, 'repo.commit'],
    [{ repo: { ...repo, secret: '../docker/config.json' } }, 'repo.secret'],
    [{ repo: 'https://git.example.org/app' }, 'repo.url'],
    [{ secrets_nonce: undefined }, 'secrets_nonce'],
    [{ network_mode: 'isolated' }, 'network_mode'],
  ]
  for (const [change, field] of bad) {
    const text = JSON.stringify({ ...given, ...change })
    assert.throws(() => parseConfig(text), new RegExp(`field ${field}`), text)
  }
})

test('a submodule outside the source, or without a way out, is refused', () => {
  const submodule = { path: 'libs/far', url: 'https://git.example.org/far', commit: 'c'.repeat(40) }
  const given = givenConfig({ network_mode: 'egress', submodules: [submodule] })
  assert.deepEqual(parseConfig(JSON.stringify(given)), given)
  const bad: [object, string][] = [
    [{ submodules: [{ ...submodule, path: '/etc' }] }, 'submodules'],
    [{ submodules: [{ ...submodule, path: 'libs/../../etc' }] }, 'submodules'],
    [{ submodules: [{ ...submodule, path: '' }] }, 'submodules'],
    [{ submodules: [{ ...submodule, url: 'ext::sh -c id' }] }, 'submodules'],
    [{ submodules: [{ ...submodule, commit: 'main' }] }, 'submodules'],
    [{ submodules: submodule }, 'submodules'],
    [{ network_mode: 'isolated' }, 'network_mode'],
  ]
  for (const [change, field] of bad) {
    const text = JSON.stringify({ ...given, ...change })
    assert.throws(() => parseConfig(text), new RegExp(`field ${field}`), text)
  }
})

test('an unreadable configuration is never quoted, it holds a token', () => {
  assert.throws(
    () => parseConfig('{"registry_token":"secret'),
    (error: Error) => !error.message.includes('secret'),
  )
})
