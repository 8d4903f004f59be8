// What a hostile build tries on its way out, with real listeners in network namespaces: services of its host,
// another guest, the cloud's metadata, by address, by name, by redirect and by rebinding.
import assert from 'node:assert/strict'
import http, { type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { givenNamespaces, noNamespacesReason, type Part } from '../../helpers/netns.ts'
import { until } from '../../helpers/until.ts'

const HOST = { inner: '10.77.0.1', own: '5.9.0.1', own6: '2a01:4f8::1' }
const GUEST = '10.77.0.2'
const METADATA = '169.254.169.254'
const CARRIER = '100.64.0.9'
const LOCAL6 = 'fd00:77::2'
const WORLD = '5.9.0.2'
const WORLD6 = '2a01:4f8::2'

const NAMES: Record<string, string[][]> = {
  'world.example': [[WORLD]],
  'world6.example': [[WORLD6]],
  'guest.example': [[GUEST]],
  'mapped.example': [[`::ffff:${GUEST}`]],
  'metadata.example': [[METADATA]],
  'own.example': [[HOST.own]],
  'rebinding.example': [[WORLD], [GUEST]],
  'both.example': [[GUEST, METADATA, WORLD]],
}

async function givenWorld(t: TestContext, allowedDomains?: string[]) {
  const beyond = [GUEST, METADATA, CARRIER, LOCAL6, WORLD, WORLD6]
  const net = await givenNamespaces(t, { host: Object.values(HOST), beyond })
  const redirects = Object.fromEntries(
    [
      `http://${GUEST}/`,
      `http://${METADATA}/`,
      `http://${HOST.inner}/`,
      'http://guest.example/',
      'http://other.example/',
    ].map((to, n) => [`/to/${n}`, to]),
  )
  const listener = (address: string) => ({ address, port: 80, label: `<${address}>`, redirects })
  const host = await net.play('host', {
    listen: [...Object.values(HOST), '127.0.0.1', '::1'].map(listener),
  })
  const outside = await net.play('beyond', { listen: beyond.map(listener) })
  const path = join(net.dir, 'egress.sock')
  const names = { ...structuredClone(NAMES), 'other.example': [[WORLD]] }
  const proxy = await net.play('host', {
    proxy: { path, names, ...(allowedDomains ? { allowedDomains } : {}) },
  } satisfies Part)
  return { net, path, proxy, redirects, heard: () => [...host.told, ...outside.told] }
}

/** As a build step does: through the proxy and nothing else. */
async function ask(path: string, url: string) {
  const sent = http.request({ socketPath: path, path: url, agent: false, headers: { host: 'x' } })
  sent.end()
  const [status, headers, body] = await new Promise<[number, IncomingHttpHeaders, string]>(
    (resolve, reject) => {
      sent.on('error', reject)
      sent.on('response', async (reply) =>
        resolve([reply.statusCode ?? 0, reply.headers, await text(reply)]),
      )
    },
  )
  return { status, headers, body }
}

async function connectTo(path: string, authority: string): Promise<number> {
  const socket = connect(path)
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`)
  for await (const chunk of socket) {
    socket.destroy()
    return Number(String(chunk).split(' ')[1])
  }
  return 0
}

const bracketed = (address: string) => (address.includes(':') ? `[${address}]` : address)
const FORBIDDEN = [...Object.values(HOST), '127.0.0.1', '::1', GUEST, METADATA, CARRIER, LOCAL6]

async function attackSurroundings(t: TestContext) {
  const { net, path, proxy, redirects, heard } = await givenWorld(t)

  await t.test('each of the targets is there for who is not a build', async () => {
    const urls = [...FORBIDDEN, WORLD, WORLD6].map((address) => `http://${bracketed(address)}/`)
    const direct = await net.play('host', { reach: urls })
    await direct.ended
    assert.equal(direct.told.length, urls.length, direct.told.join('\n'))
    await until(
      'all',
      () => heard().filter((line) => line.endsWith(' host')).length === urls.length,
    )
  })

  await t.test('the world is reached, by address and by name', async () => {
    for (const host of [WORLD, `[${WORLD6}]`, 'world.example', 'world6.example']) {
      assert.equal((await ask(path, `http://${host}/`)).status, 200, host)
    }
  })

  await t.test('egress to host services, another guest and metadata is refused', async () => {
    const disguised = [
      '167772161',
      '0x0a4d0001',
      '012.0115.0.2',
      '10.77.2',
      `[::ffff:${GUEST}]`,
      '[::ffff:a9fe:a9fe]',
    ]
    const named = [
      'guest.example',
      'GUEST.example.',
      'mapped.example',
      'metadata.example',
      'own.example',
    ]
    for (const host of [...FORBIDDEN.map(bracketed), ...disguised, ...named]) {
      const { status, body } = await ask(path, `http://${host}/`)
      assert.equal(status, 403, `${host} ${body}`)
      assert.equal(await connectTo(path, `${host}:80`), 403, host)
    }
  })

  await t.test('egress by redirect is refused where the redirect is followed', async () => {
    for (const from of Object.keys(redirects).slice(0, 4)) {
      const first = await ask(path, `http://world.example${from}`)
      assert.equal(first.status, 302)
      assert.equal((await ask(path, first.headers.location ?? '')).status, 403)
    }
  })

  await t.test(
    'egress by rebinding: each connection goes to an address that was checked',
    async () => {
      assert.equal((await ask(path, 'http://rebinding.example/')).body, `<${WORLD}>`)
      assert.equal((await ask(path, 'http://rebinding.example/')).status, 403)
      assert.equal((await ask(path, 'http://both.example/')).body, `<${WORLD}>`)
      const lookups = proxy.told.filter((line) => line === 'looked up rebinding.example')
      assert.equal(lookups.length, 2, 'once for each connection')
    },
  )

  const reached = new Set(heard().filter((line) => line.endsWith(' build')))
  assert.deepEqual([...reached].sort(), [`<${WORLD6}> build`, `<${WORLD}> build`].sort())
}

async function attackList(t: TestContext) {
  const { path, proxy, heard } = await givenWorld(t, ['world.example', 'guest.example'])
  assert.equal((await ask(path, 'http://world.example/')).status, 200)
  const { headers } = await ask(path, 'http://world.example/to/4')
  assert.equal((await ask(path, headers.location ?? '')).status, 403)
  for (const host of [WORLD, `[${WORLD6}]`, '84475906', 'guest.example', 'other.example']) {
    assert.equal((await ask(path, `http://${host}/`)).status, 403, host)
    assert.equal(await connectTo(path, `${host}:80`), 403, host)
  }
  assert.ok(proxy.told.includes('no: other.example:80 is not in allowed_domains'))
  assert.deepEqual(
    new Set(heard().filter((line) => line.endsWith(' build'))),
    new Set([`<${WORLD}> build`]),
  )
}

const reason = noNamespacesReason()
if (reason === null) {
  test(
    'attacks on what is around a build reach nothing that really listens there',
    attackSurroundings,
  )
  test('attacks on allowed_domains: a redirect and an address lead to nobody else', attackList)
} else {
  test(`no attack can be played on this machine: ${reason}`, () => {})
}
