// Whatever is sent to git's paths, the answer is no 5xx, and a real client is served afterwards.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { givenGitServer } from '../helpers/git-server.ts'
import { HOSTILE, sendRaw } from '../helpers/hostile.ts'

const SEED = 20_260_501
const RUNS = 250

const pktLine = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`
const ZERO = '0'.repeat(40)
const CREATE = `${ZERO} ${'a'.repeat(40)} refs/heads/main\0 report-status side-band-64k`

const BODIES: (string | Buffer)[] = [
  ...['', '0000', '0001', '0003', '0004', 'ffff', 'zzzz', '00', 'PACK'],
  ...[pktLine(CREATE), `${pktLine(CREATE)}0000`, `${pktLine(CREATE)}0000PACK\0\0\0\u0002`],
  ...[
    `${pktLine(`${CREATE} push-options`)}0000`,
    `${pktLine(`${CREATE} push-options`)}0000000czzzz`,
  ],
  `${pktLine(`${CREATE} push-options atomic`)}0000${pktLine('gate')}${pktLine('timeout=x')}0000`,
  ...[pktLine('command=ls-refs\n'), pktLine(`want ${'a'.repeat(40)}\n`), '0032want nonsense'],
  gzipSync('0000'),
  gzipSync(Buffer.alloc(1_000_000)),
]

test('whatever is sent to the paths of git, the answer is no 5xx', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const client = await server.givenClient(t, 'hello')
  await client.push('hypeman', 'main')
  const token = await server.token()
  const authorization = `Basic ${Buffer.from(`ada:${token}`).toString('base64')}`
  const word = fc.constantFrom('hello', 'acme', ...HOSTILE)
  const service = fc.constantFrom('git-upload-pack', 'git-receive-pack', ...HOSTILE)
  const path = fc.oneof(
    service.map((name) => `/hello.git/info/refs?service=${name}`),
    service.map((name) => `/hello.git/${name}`),
    fc.tuple(word, word, service).map(([a, b, c]) => `/${a}/${b}.git/${c}`),
    fc.tuple(word, word).map(([a, b]) => `/${a}.git/objects/${b}`),
  )
  const headers = fc.record(
    {
      'content-type': fc.constantFrom(
        'application/x-git-receive-pack-request',
        'application/x-git-upload-pack-request',
        'text/plain',
      ),
      'content-encoding': fc.constantFrom('gzip', 'x-gzip', 'br'),
      'git-protocol': fc.constantFrom('version=2', 'version=1', 'version=99', 'x'.repeat(300)),
    },
    { requiredKeys: [] },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'POST', 'POST', 'PUT', 'HEAD'),
      path,
      headers,
      fc.constantFrom(...BODIES),
      async (method, where, extra, body) => {
        const sent = method === 'GET' || method === 'HEAD' ? undefined : body
        const headers = { ...extra, authorization }
        const { status } = await sendRaw(server.url, { method, path: where, headers, body: sent })
        assert.ok(status > 0 && status < 500, `${method} ${where} answered ${status}`)
      },
    ),
    { numRuns: RUNS, seed: SEED },
  )
  await client.write('more', 'more\n')
  await client.commit()
  const push = await client.push('hypeman', 'main')
  assert.match(push.text, /main -> main/)
})
