// Another registry read through ours: a real one with TLS and tokens, and what is left of it when it is away.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { exchangeWith } from '../../server/registry/exchange.ts'
import type { RegistryUpstream } from '../../server/registry/upstream.ts'
import { listen as listenEgress } from '../helpers/egress.ts'
import { givenHub, givenMirror, type HouseOptions, HUB, type Hub } from '../helpers/hub.ts'
import { digestOf, MANIFEST_TYPE, pushBlob, pushImage } from '../helpers/oci.ts'
import { testParts } from '../helpers/parts.ts'
import { bearer, buildToken, member, operator, registryAdmin } from '../helpers/registry.ts'

const REPO = `mirror/${HUB}/library/app`

async function givenHouse(t: TestContext, options: HouseOptions = {}) {
  const hub = await givenHub(t)
  const into = { url: hub.direct, repo: 'library/app', headers: {} }
  const image = await pushImage(into, 'v1')
  const house = await givenMirror(t, hub, options)
  const build = await buildToken()
  const get = (path: string, token = build, init: RequestInit = {}) =>
    fetch(`${house.url}/v2/${REPO}/${path}`, {
      ...init,
      headers: { ...bearer(token), accept: MANIFEST_TYPE },
    })
  return { ...house, hub, into, image, build, get }
}

const bytesOf = async (reply: Response) => Buffer.from(await reply.arrayBuffer())

function down(hub: Hub): void {
  hub.instead = (req) => {
    req.socket.destroy()
    return true
  }
}

/** What is fetched is kept a little after it was given. */
async function isKept({ upstream }: { upstream: RegistryUpstream }, digest: string) {
  const tag = `blob-${createHash('sha256').update(digest).digest('hex')}`
  const path = `/v2/${REPO}/manifests/${tag}`
  const headers = { accept: MANIFEST_TYPE }
  for (let n = 0; n < 500; n += 1) {
    const { status } = await exchangeWith(upstream, { method: 'HEAD', path, headers })
    if (status === 200) return
    await sleep(20)
  }
  assert.fail(`${digest} is not kept`)
}

test('skopeo copies an image through the mirror, and again when the registry is away', async (t) => {
  const house = await givenHouse(t)
  const { skopeo } = await testParts()
  const copy = async (to: string) => {
    const from = ['--src-tls-verify=false', '--src-registry-token', house.build]
    const source = `docker://${house.host}/${REPO}:v1`
    const args = ['--insecure-policy', 'copy', ...from, source, `dir:${join(house.dir, to)}`]
    return execa(skopeo, args, { reject: false })
  }
  const first = await copy('a')
  assert.equal(first.exitCode, 0, first.stderr)
  await isKept(house, house.image.layer)
  down(house.hub)
  const second = await copy('b')
  assert.equal(second.exitCode, 0, second.stderr)
  const outcomes = house.events.map(({ outcome, image }) => `${outcome} ${image}`)
  assert.ok(outcomes.includes(`fetched ${HUB}/library/app:v1`), String(outcomes))
  const last = house.events.at(-1)
  assert.equal(last?.outcome, 'stale')
  assert.equal(last?.buildId, 'acme1')
  assert.match(last?.why ?? '', /hub\.test cannot be reached/)
})

test('what twenty want at once is fetched once, and each gets all of it while it comes', async (t) => {
  const house = await givenHouse(t)
  const bytes = randomBytes(3_000_000)
  const digest = await pushBlob(house.into, bytes)
  const blob = new RegExp(`GET .*/blobs/${digest}`)
  await house.get('manifests/v1') // has the token for the rest
  let goOn = () => {}
  house.hub.instead = (req, res) => {
    if (!req.url?.includes(digest)) return false
    res.writeHead(200, { 'content-length': bytes.length })
    res.write(bytes.subarray(0, 1_000_000))
    goOn = () => void res.end(bytes.subarray(1_000_000))
    return true
  }
  const replies = await Promise.all(Array.from({ length: 20 }, () => house.get(`blobs/${digest}`)))
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200])
  goOn()
  for (const reply of replies) assert.equal(digestOf(await bytesOf(reply)), digest)
  assert.equal(house.hub.count(blob), 1)
  await isKept(house, digest)
})

test('a blob that breaks off, or is another one, is given to nobody as a whole and not kept', async (t) => {
  const house = await givenHouse(t)
  const bytes = randomBytes(300_000)
  const digest = await pushBlob(house.into, bytes)
  const wrong = Buffer.from(bytes)
  wrong[wrong.length - 1]! ^= 1
  const lies: NonNullable<Hub['instead']>[] = [
    (_req, res) => {
      res.writeHead(200, { 'content-length': bytes.length })
      res.write(bytes.subarray(0, 200_000), () => res.destroy())
      return true
    },
    (_req, res) => {
      res.writeHead(200, { 'content-length': bytes.length }).end(wrong)
      return true
    },
  ]
  for (const lie of lies) {
    house.hub.instead = lie
    const reply = await house.get(`blobs/${digest}`)
    await assert.rejects(bytesOf(reply))
    down(house.hub)
    assert.equal((await house.get(`blobs/${digest}`)).status, 503)
  }
  assert.deepEqual(await readdir(join(house.dir, 'mirror')), [])
  house.hub.instead = undefined
  assert.equal(digestOf(await bytesOf(await house.get(`blobs/${digest}`))), digest)
})

test('a client that goes away leaves the blob to those who come', async (t) => {
  const house = await givenHouse(t)
  const bytes = randomBytes(2_000_000)
  const digest = await pushBlob(house.into, bytes)
  await house.get('manifests/v1') // has the token for the rest
  let goOn = () => {}
  house.hub.instead = (_req, res) => {
    res.writeHead(200, { 'content-length': bytes.length })
    res.write(bytes.subarray(0, 1_000_000))
    goOn = () => void res.end(bytes.subarray(1_000_000))
    return true
  }
  const gone = new AbortController()
  const left = await house.get(`blobs/${digest}`, house.build, { signal: gone.signal })
  const stays = await house.get(`blobs/${digest}`)
  gone.abort()
  await assert.rejects(bytesOf(left))
  goOn()
  assert.equal(digestOf(await bytesOf(stays)), digest)
  assert.equal(house.hub.count(/GET .*\/blobs\//), 1)
})

test('a tag is asked for again with HEAD and followed when it moves; a digest is never asked for again', async (t) => {
  const house = await givenHouse(t)
  const digestNow = async (path: string) =>
    (await house.get(path)).headers.get('docker-content-digest')
  assert.equal(await digestNow('manifests/v1'), house.image.digest)
  assert.equal(await digestNow('manifests/v1'), house.image.digest)
  const gets = () => house.hub.count(/GET .*\/manifests\/v1/)
  assert.equal(gets(), 2, 'one for the challenge, one for the manifest')
  const moved = await pushImage(house.into, 'v1')
  assert.equal(await digestNow('manifests/v1'), moved.digest)
  const before = house.hub.requests.length
  assert.equal(await digestNow(`manifests/${house.image.digest}`), house.image.digest)
  assert.equal(house.hub.requests.length, before)
})

test('within its time a tag is not asked for at all', async (t) => {
  const house = await givenHouse(t, { tagTtlMs: 60_000 })
  await house.get('manifests/v1')
  const before = house.hub.requests.length
  assert.equal((await house.get('manifests/v1', house.build, { method: 'HEAD' })).status, 200)
  assert.equal(house.hub.requests.length, before)
})

test('what the registry refuses is said as it is; a limit of pulls leaves what is stored', async (t) => {
  const house = await givenHouse(t)
  const answers: [number, number, string][] = [
    [404, 404, 'MANIFEST_UNKNOWN'],
    [401, 403, 'DENIED'],
    [403, 403, 'DENIED'],
    [429, 429, 'TOOMANYREQUESTS'],
    [500, 503, 'UNAVAILABLE'],
  ]
  const refuse = (status: number) => {
    house.hub.instead = (_req, res) => {
      res.writeHead(status, { 'retry-after': '77' }).end()
      return true
    }
  }
  for (const [theirs, ours, code] of answers) {
    refuse(theirs)
    const reply = await house.get('manifests/v1')
    const { errors } = (await reply.json()) as { errors: { code: string; message: string }[] }
    assert.deepEqual([reply.status, errors[0]?.code], [ours, code], `their ${theirs}`)
    assert.equal(reply.headers.get('retry-after'), theirs === 429 ? '77' : null)
  }
  house.hub.instead = undefined
  assert.equal((await house.get('manifests/v1')).status, 200)
  for (const theirs of [429, 500, 503]) {
    refuse(theirs)
    assert.equal((await house.get('manifests/v1')).status, 200, `their ${theirs}, stored`)
    assert.equal(house.events.at(-1)?.outcome, 'stale')
  }
  for (const theirs of [401, 404]) {
    refuse(theirs)
    assert.notEqual((await house.get('manifests/v1')).status, 200, `their ${theirs}, stored`)
  }
})

test('nobody writes to a mirror, whatever the token says; every tenant reads it, nobody without one', async (t) => {
  const house = await givenHouse(t)
  const writers = [await operator(), await registryAdmin(), house.build, await member()]
  for (const token of writers) {
    for (const [method, path] of [
      ['PUT', 'manifests/v1'],
      ['DELETE', `manifests/${house.image.digest}`],
      ['POST', 'blobs/uploads/'],
      ['DELETE', `blobs/${house.image.layer}`],
    ] as const) {
      const reply = await house.get(path, token, { method })
      assert.ok(reply.status === 405 || reply.status === 401, `${method} ${path}: ${reply.status}`)
    }
    assert.equal((await house.get('manifests/v1', token)).status, 200)
  }
  assert.equal((await house.get('manifests/v1', await member('other'))).status, 200)
  assert.equal((await fetch(`${house.url}/v2/${REPO}/manifests/v1`)).status, 401)
  assert.equal((await house.get('tags/list')).status, 404)
  const catalog = async (token: string) =>
    (await fetch(`${house.url}/v2/_catalog`, { headers: bearer(token) })).text()
  assert.match(await catalog(await operator()), /mirror\//)
  assert.doesNotMatch(await catalog(await member()), /mirror\//)
})

test('a name that is not mirrored is not there, and the registry is not asked', async (t) => {
  const house = await givenHouse(t, { source: { repositories: ['library/*', 'acme/web'] } })
  const status = async (path: string) =>
    (
      await fetch(`${house.url}/v2/mirror/${path}/manifests/v1`, {
        headers: { ...bearer(house.build), accept: MANIFEST_TYPE },
      })
    ).status
  assert.equal(await status(`${HUB}/library/app`), 200)
  const before = house.hub.requests.length
  for (const path of [`${HUB}/acme/web2`, `${HUB}/library`, 'other.test/library/app', HUB]) {
    assert.equal(await status(path), 404, path)
  }
  assert.equal(house.hub.requests.length, before)
})

test('what is no longer mirrored can’t be mounted either, though it is still stored', async (t) => {
  const hub = await givenHub(t)
  const image = await pushImage({ url: hub.direct, repo: 'library/app', headers: {} }, 'v1')
  const repositories = ['library/*']
  const house = await givenMirror(t, hub, { source: { repositories } })
  const headers = bearer(await buildToken())
  await bytesOf(await fetch(`${house.url}/v2/${REPO}/blobs/${image.layer}`, { headers }))
  await isKept(house, image.layer)
  const mount = async () => {
    const query = `mount=${image.layer}&from=${REPO}`
    const uploads = `${house.url}/v2/builds/acme1/blobs/uploads/?${query}`
    return (await fetch(uploads, { method: 'POST', headers })).status
  }
  repositories[0] = 'acme/web'
  assert.equal(await mount(), 202, 'a plain upload')
  repositories[0] = 'library/*'
  assert.equal(await mount(), 201)
})

test('credentials and tokens go to the registry that asks for them, not to where it redirects', async (t) => {
  const other = await givenHub(t)
  const house = await givenHouse(t, {
    source: { credentials: 'robot:hunter2' },
    allowAddresses: ['127.0.0.1'],
    trusted: [other.certificate],
  })
  assert.equal((await house.get('manifests/v1')).status, 200)
  assert.deepEqual(house.hub.logins, [`Basic ${Buffer.from('robot:hunter2').toString('base64')}`])
  house.hub.instead = (req, res) => {
    res.writeHead(307, { location: `${other.url}${req.url}` }).end()
    return true
  }
  const reply = await house.get(`blobs/${house.image.layer}`)
  assert.equal(reply.status, 403)
  assert.doesNotMatch(await reply.text(), /hunter2/)
  assert.equal(other.requests.length, 1, 'it was asked')
  assert.deepEqual([...other.authorizations, ...other.logins], [])
})

test('an address that is private is reached only where the operator has given it himself', async (t) => {
  const found = await givenHouse(t, { source: { isGiven: false } })
  const reply = await found.get('manifests/v1')
  assert.equal(reply.status, 503)
  assert.match(await reply.text(), /is not a public address/)
  assert.deepEqual(found.hub.requests, [])

  const house = await givenHouse(t)
  const inside = await givenHub(t)
  house.hub.instead = (_req, res) => {
    res.writeHead(307, { location: inside.url }).end()
    return true
  }
  const redirected = await house.get(`blobs/${house.image.layer}`)
  assert.equal(redirected.status, 503)
  assert.match(await redirected.text(), /is not a public address/)
  assert.deepEqual(inside.requests, [])
})

test('public addresses are reached through the firm’s own proxy, by the address that was checked', async (t) => {
  const hub = await givenHub(t)
  const { port } = new URL(hub.url)
  const asked: string[] = []
  const firm = createServer(async (guest) => {
    const [head] = (await once(guest, 'data')) as [Buffer]
    asked.push(head.toString('latin1').split('\r\n')[0] ?? '')
    const there = connect(Number(port), '127.0.0.1')
    guest.write('HTTP/1.1 200 OK\r\n\r\n')
    guest.pipe(there).pipe(guest)
    there.on('error', () => guest.destroy())
  })
  const outboundUrl = `http://127.0.0.1:${await listenEgress(t, firm)}`
  await pushImage({ url: hub.direct, repo: 'library/app', headers: {} }, 'v1')
  const house = await givenMirror(t, hub, { addresses: ['8.8.8.8'], outboundUrl })
  const headers = { ...bearer(await buildToken()), accept: MANIFEST_TYPE }
  const reply = await fetch(`${house.url}/v2/${REPO}/manifests/v1`, { headers })
  assert.equal(reply.status, 200, await reply.text())
  assert.deepEqual([...new Set(asked)], [`CONNECT 8.8.8.8:${port} HTTP/1.1`])
})

test('an index is kept without the images it names, and garbage collection leaves what is kept', async (t) => {
  const house = await givenHouse(t)
  const other = await pushImage(house.into, 'v2')
  const type = 'application/vnd.oci.image.index.v1+json'
  const manifests = [house.image, other].map(({ digest }) => ({
    mediaType: MANIFEST_TYPE,
    digest,
    size: 1,
  }))
  const index = JSON.stringify({ schemaVersion: 2, mediaType: type, manifests })
  const put = await fetch(`${house.hub.direct}/v2/library/app/manifests/all`, {
    method: 'PUT',
    headers: { 'content-type': type },
    body: index,
  })
  assert.equal(put.status, 201)
  assert.equal(await (await house.get('manifests/all')).text(), index)
  await house.get(`manifests/${house.image.digest}`)
  await bytesOf(await house.get(`blobs/${house.image.layer}`))
  await isKept(house, house.image.layer)
  const { registry } = await testParts()
  const settings = join(house.dir, 'run/registry.json')
  await execa(registry, ['garbage-collect', '--delete-untagged', settings])
  down(house.hub)
  assert.equal(await (await house.get('manifests/all')).text(), index)
  for (const path of [`manifests/${house.image.digest}`, `blobs/${house.image.layer}`]) {
    assert.equal((await house.get(path)).status, 200, path)
  }
})

test('what was thrown away comes anew', async (t) => {
  const house = await givenHouse(t)
  await bytesOf(await house.get('manifests/v1'))
  await bytesOf(await house.get(`blobs/${house.image.layer}`))
  await isKept(house, house.image.layer)
  const blobs = join(house.dir, 'data/docker/registry/v2/blobs/sha256')
  const hexOf = (digest: string) => digest.slice('sha256:'.length)
  const folderOf = (hex: string) => join(blobs, hex.slice(0, 2), hex)
  const some = [house.image.layer, house.image.digest].map((digest) => folderOf(hexOf(digest)))
  for (const lost of [some, [blobs]]) {
    // What the mirror keeps after its answer may still be arriving.
    for (const folder of lost) await rm(folder, { recursive: true, maxRetries: 10 })
    assert.equal((await house.get('manifests/v1')).status, 200)
    const blob = await house.get(`blobs/${house.image.layer}`)
    assert.equal(digestOf(await bytesOf(blob)), house.image.layer)
    await isKept(house, house.image.layer)
  }
  down(house.hub)
  assert.equal((await house.get('manifests/v1')).status, 200)
})

test('who asks gets the image also when it cannot be kept', async (t) => {
  const house = await givenHouse(t)
  await house.get('manifests/v1')
  const uploads = join(house.dir, 'data/docker/registry/v2/repositories', REPO)
  await rm(uploads, { recursive: true })
  await writeFile(uploads, 'no folder')
  const reply = await house.get('manifests/v1')
  assert.equal(reply.headers.get('docker-content-digest'), house.image.digest)
  const blob = await house.get(`blobs/${house.image.layer}`)
  assert.equal(digestOf(await bytesOf(blob)), house.image.layer)
})
