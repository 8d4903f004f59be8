// What the operator says of mirrors: what is understood, and what is refused before anything starts.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ConfigError, readConfig } from '../../../server/config.ts'
import {
  isMirrored,
  parseMirrors,
  parsePatterns,
  readSources,
} from '../../../server/mirror/sources.ts'

async function givenAuthFile(t: TestContext, content: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-auth-'))
  t.after(() => rm(dir, { recursive: true }))
  const file = join(dir, 'config.json')
  await writeFile(file, content)
  return file
}

const auth = Buffer.from('robot:hunter2').toString('base64')

test('names stand alone or with an address, which then may be any', async () => {
  const names = parseMirrors('docker.io, ghcr.io=https://ghcr.example:8443,')
  const sources = await readSources({ names, patterns: [], authFile: undefined })
  const seen = sources.map(({ host, url, isGiven }) => [host, url.href, isGiven])
  assert.deepEqual(seen, [
    ['docker.io', 'https://registry-1.docker.io/', false],
    ['ghcr.io', 'https://ghcr.example:8443/', true],
  ])
})

test('what is no name or no address is refused at start, and the message says which', () => {
  for (const wrong of [
    'docker.io:443',
    'a/b',
    'docker.io=ftp://x',
    'docker.io=https://u:p@x',
    'docker.io=https://x/path',
    'docker.io,docker.io',
    '..',
  ]) {
    assert.throws(() => readConfig({ REGISTRY_MIRRORS: wrong }), ConfigError, wrong)
  }
  for (const wrong of ['docker.io', 'docker.io/*/x', '/x', 'docker.io/../x*']) {
    assert.throws(() => readConfig({ REGISTRY_MIRROR_REPOSITORIES: wrong }), ConfigError, wrong)
  }
})

test('a list of repositories is exact but for a star at its end', async () => {
  const [source] = await readSources({
    names: parseMirrors('docker.io'),
    patterns: parsePatterns('docker.io/library/*,docker.io/acme/web'),
    authFile: undefined,
  })
  for (const [name, expected] of [
    ['library/node', true],
    ['acme/web', true],
    ['acme/web2', false],
    ['acme', false],
    ['library', false],
    ['librarytwo/x', false],
  ] as const) {
    assert.equal(isMirrored(source!, name), expected, name)
  }
})

test('credentials make images readable by all, so the operator has to say which', async (t) => {
  const auths = { 'https://index.docker.io/v1/': { auth }, 'quay.io': { auth } }
  const authFile = await givenAuthFile(t, JSON.stringify({ auths }))
  const names = parseMirrors('docker.io,ghcr.io')
  await assert.rejects(readSources({ names, patterns: [], authFile }), (error: Error) => {
    assert.match(error.message, /REGISTRY_MIRROR_REPOSITORIES must name what of docker\.io/)
    assert.doesNotMatch(error.message, /hunter2/)
    return true
  })
  const sources = await readSources({ names, patterns: ['docker.io/*'], authFile })
  assert.deepEqual(
    sources.map(({ credentials }) => credentials),
    ['robot:hunter2', undefined],
  )
})

test('a list for a registry that is not mirrored is a mistake', async () => {
  const names = parseMirrors('docker.io')
  const asked = readSources({ names, patterns: ['ghcr.io/*'], authFile: undefined })
  await assert.rejects(asked, /ghcr\.io\/\*, which is not in REGISTRY_MIRRORS/)
})

test('an auth file that can’t be read is named, and nothing of it', async (t) => {
  const names = parseMirrors('docker.io')
  for (const content of ['{"auths":{"docker.io":{"auth":"hunter2"', '{"auths":"hunter2"}']) {
    const authFile = await givenAuthFile(t, content)
    await assert.rejects(readSources({ names, patterns: [], authFile }), (error: Error) => {
      assert.match(error.message, /^REGISTRY_MIRROR_AUTH_FILE=\S+ is no auth file/)
      assert.doesNotMatch(error.message, /hunter2/)
      return true
    })
  }
})
