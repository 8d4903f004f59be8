import assert from 'node:assert/strict'
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { type Header, pack } from 'tar-stream'
import { unpackSource } from '../../../agent/source.ts'

type Entry = Partial<Header> & { name: string } & { body?: string }

async function unpacked(t: TestContext, entries: readonly Entry[], padding = 0) {
  const folder = mkdtempSync(join(tmpdir(), 'source-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const tar = pack()
  for (const { body, ...header } of entries) tar.entry(header, body ?? '')
  tar.finalize()
  const device = join(folder, 'disk')
  writeFileSync(device, Buffer.concat([await buffer(tar), Buffer.alloc(padding)]))
  const warnings: string[] = []
  const root = join(folder, 'src')
  await unpackSource({ input: { device }, folder: root, warn: (line) => warnings.push(line) })
  return { root, warnings }
}

test('files, folders, modes and times are unpacked from a padded device', async (t) => {
  const mtime = new Date('2020-01-02T03:04:05Z')
  const { root, warnings } = await unpacked(
    t,
    [
      { name: 'bin/', type: 'directory', mode: 0o755, mtime },
      { name: 'bin/run', mode: 0o755, mtime, body: '#!/bin/sh\n' },
      { name: 'grün.txt', mtime, body: 'ja' },
    ],
    128 * 1024,
  )
  assert.deepEqual(warnings, [])
  assert.equal(statSync(join(root, 'bin/run')).mode & 0o777, 0o755)
  assert.deepEqual(statSync(join(root, 'bin/run')).mtime, mtime)
  assert.equal(readFileSync(join(root, 'grün.txt'), 'utf8'), 'ja')
})

test('links that are absolute or lead out are left out with a warning, and the rest is unpacked', async (t) => {
  const link = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname })
  const { root, warnings } = await unpacked(t, [
    link('absolute', '/etc/passwd'),
    link('out', '../../etc/passwd'),
    link('deep/out', '../../x'),
    link('deep/in', '../last'),
    link('chain', 'deep/in'),
    { name: 'hard', type: 'link', linkname: '../../etc/passwd' },
    { name: 'device', type: 'character-device', devmajor: 1, devminor: 3 },
    { name: 'last', body: 'here' },
  ])
  assert.deepEqual(readdirSync(root).sort(), ['chain', 'deep', 'last'])
  assert.deepEqual(readdirSync(join(root, 'deep')), ['in'])
  assert.equal(readlinkSync(join(root, 'chain')), 'deep/in')
  assert.equal(readFileSync(join(root, 'chain'), 'utf8'), 'here')
  assert.equal(warnings.length, 5)
  assert.match(warnings[0] ?? '', /^warning: absolute is a link to the absolute path \/etc\/passwd/)
})

test('nothing is ever written outside, whatever the names say', async (t) => {
  const { root, warnings } = await unpacked(t, [
    { name: '../escaped', body: 'x' },
    { name: '/rooted', body: 'x' },
  ])
  assert.equal(warnings.length, 1)
  assert.deepEqual(readdirSync(join(root, '..')).sort(), ['disk', 'src'])
  assert.deepEqual(readdirSync(root), ['rooted'])
})

test('many links to leave out make a bounded number of warnings', async (t) => {
  const entries = Array.from({ length: 100 }, (_, i): Entry => {
    return { name: `l${i}`, type: 'symlink', linkname: '/x' }
  })
  const { warnings } = await unpacked(t, entries)
  assert.equal(warnings.length, 21)
  assert.match(warnings.at(-1) ?? '', /80 more entries/)
})
