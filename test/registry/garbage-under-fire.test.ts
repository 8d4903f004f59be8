// The garbage collection while everybody pushes, and killed in its middle. What the registry has taken is
// whole at any time.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import type { Graces } from '../../server/garbage/collect.ts'
import { createOwnRegistry } from '../../server/registry/own/own-registry.ts'
import { openUpstream } from '../../server/registry/upstream.ts'
import {
  blobStatus,
  blobsOnDisk,
  collected,
  deleteManifest,
  imageOf,
  NO_GRACE,
  pullAll,
  pushManifest,
  putManifest,
} from '../helpers/garbage.ts'
import { digestOf, pushBlob, pushImage, type Target, writeLayout } from '../helpers/oci.ts'
import { testParts } from '../helpers/parts.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

const CONFIG = Buffer.from('{}')
const PUSHERS = 4
const IMAGES = 6

async function givenTargets(t: TestContext) {
  const registry = await givenRegistry(t)
  const { url, host } = await givenProxy(t, registry.upstream)
  const token = await registryAdmin()
  const at = (repo: string): Target => ({ url, repo, headers: bearer(token) })
  return { ...registry, at, host, token }
}

/** As BuildKit does: asks first, sends what is not there, then the manifest. True when it was taken. */
async function pushLike(target: Target, layers: readonly Buffer[], tag: string): Promise<boolean> {
  for (const bytes of [CONFIG, ...layers]) {
    if ((await blobStatus(target, digestOf(bytes))) !== 200) await pushBlob(target, bytes)
  }
  const reply = await putManifest(target, tag, imageOf(CONFIG, layers))
  const text = await reply.text()
  if (reply.status === 201) return true
  assert.match(text, /MANIFEST_BLOB_UNKNOWN/)
  return false
}

/** Pushers that share layers, overwrite each other's tags and delete, while collections go on without end. */
async function pushAndCollect(t: TestContext, graces: Graces | undefined) {
  const { upstream, at } = await givenTargets(t)
  const layers = Array.from({ length: 12 }, () => randomBytes(3_000))
  const taken: { target: Target; digest: string }[] = []
  let refused = 0
  let isOver = false

  async function pusher(n: number): Promise<void> {
    const target = at(n % 2 === 0 ? 'apps/acme/shared' : `apps/acme/own${n}`)
    for (let image = 0; image < IMAGES; image += 1) {
      const own = [randomBytes(1_000)]
      const picked = [...layers.filter(() => Math.random() < 0.4), ...own]
      const digest = digestOf(imageOf(CONFIG, picked))
      if (await pushLike(target, picked, `t${image % 3}`)) {
        // Every other is deleted at once, so that there is something to collect at any time.
        if (image % 2 === 0) await deleteManifest(target, digest)
        else taken.push({ target, digest })
      } else refused += 1
    }
  }
  async function collector(): Promise<number> {
    let links = 0
    while (!isOver) links += (await collected(upstream, { graces, batch: 3 })).links
    return links
  }

  const collecting = collector()
  const pushing = Array.from({ length: PUSHERS }, (_, n) => pusher(n))
  await Promise.all(pushing).finally(() => {
    isOver = true
  })
  const links = await collecting
  for (const { target, digest } of taken) await pullAll(target, digest)
  const last = await collected(upstream, { graces: NO_GRACE })
  for (const { target, digest } of taken) await pullAll(target, digest)
  return { refused, taken: taken.length, links, last }
}

test('every image that was taken while collections ran without any grace is whole', async (t) => {
  const { taken, links } = await pushAndCollect(t, NO_GRACE)
  assert.ok(taken > 0, 'something was taken')
  assert.ok(links > 0, 'something was collected meanwhile')
})

test('with the grace time no push fails while collections run', async (t) => {
  const { refused, taken, last } = await pushAndCollect(t, undefined)
  assert.deepEqual([refused, taken], [0, (PUSHERS * IMAGES) / 2])
  assert.ok(last.links > 0, 'what was deleted goes in the end')
})

test('skopeo pushes and pulls while collections run', async (t) => {
  const { upstream, host, token, at } = await givenTargets(t)
  const { skopeo } = await testParts()
  const dir = await mkdtemp(join(tmpdir(), 'hm-layout-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  await writeLayout(dir)
  let isOver = false
  const collecting = (async () => {
    while (!isOver) await collected(upstream, { batch: 1 })
  })()
  const creds = ['--dest-tls-verify=false', '--dest-creds', `op:${token}`]
  for (let n = 0; n < 5; n += 1) {
    const to = `docker://${host}/cache/acme/web:t${n % 2}`
    await execa(skopeo, ['copy', ...creds, `oci:${dir}:latest`, to])
    await pullAll(at('cache/acme/web'), `t${n % 2}`)
    await deleteManifest(at('cache/acme/web'), await digestAt(at('cache/acme/web'), `t${n % 2}`))
  }
  isOver = true
  await collecting
})

async function digestAt({ url, repo, headers }: Target, tag: string): Promise<string> {
  const accept = 'application/vnd.oci.image.manifest.v1+json'
  const path = `${url}/v2/${repo}/manifests/${tag}`
  const reply = await fetch(path, { method: 'HEAD', headers: { ...headers, accept } })
  return reply.headers.get('docker-content-digest') ?? ''
}

test('killed in its middle, again and again, it leaves all that is referred to, and ends the next time', async (t) => {
  const { upstream, at, dir } = await givenTargets(t)
  const kept: { target: Target; digest: string }[] = []
  for (let n = 0; n < 30; n += 1) {
    const target = at(`apps/acme/web${n % 3}`)
    const { digest } = await pushImage(target, `t${n}`)
    if (n % 3 === 0) kept.push({ target, digest })
    else await deleteManifest(target, digest)
    for (let m = 0; m < 4; m += 1) await pushBlob(target, randomBytes(500))
  }
  const script = fileURLToPath(new URL('../helpers/doomed-collector.ts', import.meta.url))
  let left = await filesIn(dir)
  for (let killed = 0; killed < 4; killed += 1) {
    const args = ['--import', 'tsx', script, join(dir, 'data')]
    const doomed = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    const gone = once(doomed, 'exit')
    for (const before = left; left > before - 20 && doomed.exitCode === null; ) {
      left = await filesIn(dir)
    }
    doomed.kill('SIGKILL')
    assert.deepEqual(await gone, [null, 'SIGKILL'], 'it was in its middle')
    for (const { target, digest } of kept) await pullAll(target, digest)
  }
  await collected(upstream, { graces: NO_GRACE })
  for (const { target, digest } of kept) await pullAll(target, digest)
  // Layers and manifests of those kept, and the config they share.
  assert.equal((await blobsOnDisk(upstream)).size, kept.length * 2 + 1)
})

/** Also while they are being removed. */
async function filesIn(dir: string): Promise<number> {
  const found = await execa('find', [dir, '-type', 'f'], { reject: false })
  return found.stdout.split('\n').length
}

test('writes wait while the registry is held, reads go on, and what waits too long gets a 503', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const { socketPath } = upstream
  const dataDir = join(upstream.storage.trash, '..')
  const patient = createOwnRegistry({ socketPath, dataDir })
  const { url } = await givenProxy(t, patient)
  const target = { ...at('apps/acme/web'), url }
  const { digest } = await pushImage(target, 'main')
  let open = () => {}
  const held = patient.gate.hold(() => new Promise<void>((resolve) => (open = resolve)))
  const order: string[] = []
  const pushed = pushImage(target, 'next').then(() => order.push('pushed'))
  await pullAll(target, digest)
  order.push('pulled')
  open()
  await Promise.all([held, pushed])
  assert.deepEqual(order, ['pulled', 'pushed'])

  const hasty = createOwnRegistry({ socketPath, dataDir }, { waitMs: 20 })
  const other = { ...target, url: (await givenProxy(t, hasty)).url }
  const again = hasty.gate.hold(() => new Promise<void>((resolve) => (open = resolve)))
  const refused = await putManifest(other, 'late', imageOf(CONFIG, []))
  const text = await refused.text()
  open()
  await again
  assert.equal(refused.status, 503, text)
  assert.equal(refused.headers.get('retry-after'), '5')
  assert.match(text, /"UNAVAILABLE".*being tidied and took no writes for 0\.02 s/)
})

test('an upload that is still being sent does not keep the collection waiting', async (t) => {
  const { upstream, at } = await givenTargets(t)
  const { url, repo, headers } = at('apps/acme/web')
  const bytes = randomBytes(200_000)
  const begun = await fetch(`${url}/v2/${repo}/blobs/uploads/`, { method: 'POST', headers })
  const location = new URL(begun.headers.get('location') ?? '', url)
  location.searchParams.set('digest', digestOf(bytes))
  const sent = http.request(location, {
    method: 'PUT',
    headers: { ...headers, 'content-length': bytes.length },
  })
  const replied = once(sent, 'response') as Promise<[http.IncomingMessage]>
  sent.write(bytes.subarray(0, 150_000))
  await sleep(50)
  await collected(upstream, { graces: { ...NO_GRACE, uploadMs: 60_000 } })
  sent.end(bytes.subarray(150_000))
  const [reply] = await replied
  reply.resume()
  assert.equal(reply.statusCode, 201)
  await pushBlob(at(repo), CONFIG)
  await pushManifest(at(repo), imageOf(CONFIG, [bytes]), 'main')
  await pullAll(at(repo), 'main')
})

test('a manifest whose client has gone is waited for: the registry may still be writing it', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-own-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const socketPath = join(dir, 's')
  let answer = () => {}
  const server = http.createServer((req, res) => {
    req.resume()
    answer = () => res.writeHead(201).end()
    server.emit('asked')
  })
  server.listen(socketPath)
  t.after(() => server.close())
  await once(server, 'listening')
  const own = createOwnRegistry({ socketPath, dataDir: dir })
  const client = new AbortController()
  const arrived = once(server, 'asked')
  const put = openUpstream(own, {
    method: 'PUT',
    path: '/v2/apps/acme/web/manifests/main',
    headers: {},
    body: Buffer.from('{}'),
    signal: client.signal,
  })
  await arrived
  client.abort(new Error('the client went away'))
  await assert.rejects(put, /went away/)
  const order: string[] = []
  const held = own.gate.hold(async () => order.push('held'))
  await sleep(50)
  order.push('answered')
  answer()
  await held
  assert.deepEqual(order, ['answered', 'held'])
})
