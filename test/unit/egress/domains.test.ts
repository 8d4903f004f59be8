// allowed_domains at the proxy, whatever a build writes for a name.
import assert from 'node:assert/strict'
import http from 'node:http'
import { type TestContext, test } from 'node:test'
import { matchesDomain } from '../../../server/egress/domains.ts'
import { canonicalHost } from '../../../server/egress/host-name.ts'
import { get, givenProxy, listen, tunnel } from '../../helpers/egress.ts'

test('a name is allowed exactly, and with *. everything below it but not itself', () => {
  const patterns = ['example.com', '*.example.org']
  for (const host of ['example.com', 'a.example.org', 'a.b.example.org']) {
    assert.ok(matchesDomain(host, patterns), host)
  }
  for (const host of [
    ...['a.example.com', 'example.org', 'badexample.org', 'example.com.evil.net', 'example.comx'],
    ...['xexample.com', 'com', '', 'a.example.org.evil.net', '*.example.org.evil'],
  ]) {
    assert.ok(!matchesDomain(host, patterns), host)
  }
})

test('a host has one spelling', () => {
  const spellings: Record<string, string[]> = {
    'example.com': [
      'EXAMPLE.com',
      'example.com.',
      'ex%61mple.com',
      'ｅｘａｍｐｌｅ.com',
      'example。com',
    ],
    'xn--bcher-kva.example': ['bücher.example', 'BÜCHER.example', 'xn--bcher-kva.example'],
    '127.0.0.1': ['2130706433', '0x7f000001', '0177.0.0.1', '127.1', '127.0.0.1.', '①②⑦.0.0.1'],
    '::1': ['[::1]', '::1', '[0:0:0:0:0:0:0:1]'],
    '::ffff:7f00:1': ['[::ffff:127.0.0.1]', '::FFFF:127.0.0.1'],
  }
  for (const [one, others] of Object.entries(spellings)) {
    for (const other of others) assert.equal(canonicalHost(other), one, other)
  }
  for (const none of [
    '',
    '.',
    'a b',
    'a/b',
    'a?b',
    'a#b',
    'u@a',
    'a:80',
    'a\\b',
    '999.1.1.1',
    '%00',
    '[a]',
  ]) {
    assert.equal(canonicalHost(none), undefined, none)
  }
})

async function givenAllowing(t: TestContext, allowedDomains: string[]) {
  const port = await listen(
    t,
    http.createServer((_req, res) => void res.end('from outside')),
  )
  const asked: string[] = []
  const refused: string[] = []
  const proxy = await givenProxy(t, {
    allowedDomains,
    resolve: async (host) => {
      asked.push(host)
      return ['127.0.0.1']
    },
    onEvent: ({ reason }) => void (reason && refused.push(reason)),
  })
  return { proxyPort: proxy.port, port, asked, refused }
}

test('weakness 19: allowed_domains holds for CONNECT and for plain requests alike', async (t) => {
  const { proxyPort, port, asked, refused } = await givenAllowing(t, [
    'good.example',
    '*.cdn.example',
  ])
  for (const host of [
    'good.example',
    'GOOD.example',
    'good.example.',
    'a.cdn.example',
    'A.B.CDN.example',
  ]) {
    assert.equal((await get(proxyPort, `http://${host}:${port}/`)).status, 200, host)
    assert.equal((await tunnel(t, proxyPort, `${host}:${port}`)).status, 200, host)
  }
  asked.length = 0
  for (const host of [
    ...['example.org', 'cdn.example', 'good.example.evil.example', 'evilgood.example'],
    ...[
      'sub.good.example',
      'xcdn.example',
      'good.example%00.evil.example',
      encodeURI('gооd.example'),
    ],
  ]) {
    assert.equal((await get(proxyPort, `http://${host}:${port}/`)).status, 403, host)
    assert.equal((await tunnel(t, proxyPort, `${host}:${port}`)).status, 403, host)
  }
  assert.deepEqual(asked, [], 'a name that is not allowed is not even looked up')
  assert.ok(refused.includes(`example.org:${port} is not in allowed_domains`), refused.join('\n'))
})

test('with allowed_domains an address is refused in every form, also one that would be let through', async (t) => {
  const { proxyPort, port, asked } = await givenAllowing(t, ['good.example', '*.1'])
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '93.184.216.34',
  ]) {
    for (const { status, body } of [await get(proxyPort, `http://${host}:${port}/`)]) {
      assert.equal(status, 403, host)
      assert.match(body, /is an address; with allowed_domains only names are let through/)
    }
    assert.equal((await tunnel(t, proxyPort, `${host}:${port}`)).status, 403, host)
  }
  assert.deepEqual(asked, [])
})

test('an empty list lets nothing through', async (t) => {
  const { proxyPort, port } = await givenAllowing(t, [])
  assert.equal((await get(proxyPort, `http://good.example:${port}/`)).status, 403)
})

test('a second request on one connection is judged by its own host', async (t) => {
  const { proxyPort, port } = await givenAllowing(t, ['good.example'])
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const statusOf = (host: string) =>
    new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: proxyPort, path: `http://${host}:${port}/`, agent }
      http.get(options, (res) => resolve(res.resume().statusCode)).on('error', reject)
    })
  assert.equal(await statusOf('good.example'), 200)
  assert.equal(await statusOf('other.example'), 403)
})
