// The registry as a child of the server, and the server's own way to it.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { access, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startRegistry } from '../../server/registry/child.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { exchangeWith } from '../../server/registry/exchange.ts'
import { createOwnRegistry } from '../../server/registry/own/own-registry.ts'
import { silent } from '../helpers/database.ts'
import { pushImage } from '../helpers/oci.ts'
import { testParts } from '../helpers/parts.ts'
import { bearer, buildToken, givenProxy, givenRegistry } from '../helpers/registry.ts'

async function givenImage(t: TestContext) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const headers = bearer(await buildToken())
  const target = { url, repo: 'builds/acme1', headers }
  const image = await pushImage(target, 'temporary')
  return { ...image, target, client: createRegistryClient({ upstream }) }
}

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('the server sees which manifests are there, and believes in digests only', async (t) => {
  const { client, digest } = await givenImage(t)
  assert.equal(await client.manifestExists('builds/acme1', digest), true)
  assert.equal(await client.manifestExists('builds/acme2', digest), false)
  assert.equal(await client.manifestExists('builds/acme1', `sha256:${'0'.repeat(64)}`), false)
  assert.equal(await client.manifestExists('builds/acme1', 'temporary'), false)
  const sideways = `../../acme1/manifests/${digest}`
  assert.equal(await client.manifestExists('builds/acme2', sideways), false)
})

test('a tag is put on a digest, twice as well as once, and moved', async (t) => {
  const { client, digest, target } = await givenImage(t)
  const tagged = async () => {
    const accept = 'application/vnd.oci.image.manifest.v1+json'
    const reply = await fetch(`${target.url}/v2/${target.repo}/manifests/latest`, {
      method: 'HEAD',
      headers: { ...target.headers, accept },
    })
    return reply.headers.get('docker-content-digest')
  }
  await client.tag('builds/acme1', digest, 'latest')
  await client.tag('builds/acme1', digest, 'latest')
  assert.equal(await tagged(), digest)
  const other = await pushImage(target, 'other')
  await client.tag('builds/acme1', other.digest, 'latest')
  assert.equal(await tagged(), other.digest)
})

test('a manifest is deleted, and deleting what is gone is fine', async (t) => {
  const { client, digest } = await givenImage(t)
  await client.deleteManifest('builds/acme1', digest)
  assert.equal(await client.manifestExists('builds/acme1', digest), false)
  await client.deleteManifest('builds/acme1', digest)
})

test('a registry that is away is named so', async () => {
  const upstream = createOwnRegistry({
    socketPath: '/nonexistent/registry.sock',
    dataDir: '/nonexistent',
  })
  const client = createRegistryClient({ upstream })
  const digest = `sha256:${'0'.repeat(64)}`
  const expected = { code: 'registry_unavailable', status: 503 }
  await assert.rejects(client.manifestExists('builds/a', digest), expected)
  await assert.rejects(client.tag('builds/a', digest, 'latest'), expected)
})

test('after stop() nothing of it is left, also when it is just being started again', async (t) => {
  for (const waitMs of [0, 450, 550, 650]) {
    const { child } = await givenRegistry(t)
    const first = child.pid() ?? assert.fail('no process')
    process.kill(first, 'SIGKILL')
    await sleep(waitMs)
    const second = child.pid()
    await Promise.all([child.stop(), child.stop()])
    for (const pid of [first, second, child.pid()]) {
      assert.ok(pid === undefined || !isAlive(pid), `stopped after ${waitMs} ms`)
    }
    await assert.rejects(access(child.socketPath))
  }
})

test('an upload goes on behind a restart of the server: the registry named its secret invalid', async (t) => {
  const { dir, child, upstream } = await givenRegistry(t)
  const content = Buffer.from('{}')
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
  const path = '/v2/builds/acme1/blobs/uploads/'
  const begun = await exchangeWith(upstream, { method: 'POST', path, headers: {} })
  assert.equal(begun.status, 202)
  await child.stop()
  const again = await givenRegistry(t, { dataDir: join(dir, 'data') })
  const ended = await exchangeWith(again.upstream, {
    method: 'PUT',
    path: `${begun.location}&digest=${encodeURIComponent(digest)}`,
    headers: { 'content-length': content.length },
    body: content,
  })
  assert.equal(ended.status, 201, String(ended.body))
})

test('a registry that can’t be started says why and leaves nothing running', async (t) => {
  const parts = await testParts()
  const dir = await mkdtemp(join(tmpdir(), 'hm-reg-'))
  t.after(() => rm(dir, { recursive: true }))
  const options = {
    binary: parts.registry,
    setpriv: parts.setpriv,
    dataDir: join(dir, 'data'),
    runDir: join(dir, 'run'),
    log: silent,
  }
  const noSetpriv = startRegistry({ ...options, setpriv: '/nonexistent/setpriv' })
  await assert.rejects(noSetpriv, /did not start: spawn \/nonexistent\/setpriv ENOENT/)
  const noBinary = startRegistry({ ...options, binary: '/nonexistent/registry' })
  await assert.rejects(noBinary, /\/nonexistent\/registry did not start: exit code 1/)
  assert.deepEqual(await readdir(dir), ['data'])
})
