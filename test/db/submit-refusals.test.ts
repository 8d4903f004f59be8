// What POST /builds refuses: each with its code and a sentence, before anything is queued or kept.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { bodyOf } from '../helpers/http.ts'
import { DOCKERFILE, type Entry, post, tarGzOf, tarOf } from '../helpers/sources.ts'

type Fields = [string, string | Buffer][]
type Refusal = [status: number, code: string, message: RegExp]

const UPLOAD_LIMITS = { bytesMax: 100_000, expandedBytesMax: 200_000, entriesMax: 50 }

async function assertNothingLeft(api: TestApi): Promise<void> {
  assert.equal((await api.db('builds')).length, 0)
  assert.deepEqual(await api.objectFiles(), [])
}

async function assertRefused(api: TestApi, init: RequestInit, expected: Refusal): Promise<void> {
  const [status, code, message] = expected
  const reply = await api.call('/builds', init)
  const error = await bodyOf(reply)
  assert.equal(reply.status, status, JSON.stringify(error))
  assert.equal(error.code, code)
  assert.match(error.message, message)
  await assertNothingLeft(api)
}

/** The archive's first entry says that it has so many bytes. */
function withSize(archive: Buffer, bytes: number): Buffer {
  archive.write(`${bytes.toString(8).padStart(11, '0')} `, 124)
  archive.fill(' ', 148, 156)
  const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return archive
}

const SOURCES: [string, () => Promise<Buffer>, Refusal][] = [
  ['nothing', async () => Buffer.alloc(0), [400, 'invalid_request', /^source is required$/]],
  [
    'garbage',
    async () => Buffer.alloc(2000, 'garbage'),
    [
      400,
      'invalid_source',
      /not a tar archive: Invalid tar header; send tar, plain or gzip-compressed$/,
    ],
  ],
  ['one byte', async () => Buffer.from('x'), [400, 'invalid_source', /not a tar archive/]],
  ['zipped garbage', async () => gzipSync('garbage'), [400, 'invalid_source', /not a tar archive/]],
  [
    'gzip that breaks off',
    async () => (await tarGzOf(DOCKERFILE)).subarray(0, -10),
    [400, 'invalid_source', /not sound gzip/],
  ],
  [
    'gzip with damaged data',
    async () => {
      const archive = await tarGzOf(DOCKERFILE, [{ name: 'a' }, 'x'.repeat(5000)])
      archive[40]! ^= 0xff
      return archive
    },
    [400, 'invalid_source', /^the source is not/],
  ],
  [
    'something behind the gzip data',
    async () => Buffer.concat([await tarGzOf(DOCKERFILE), Buffer.alloc(50_000, 'x')]),
    [400, 'invalid_source', /not sound gzip/],
  ],
  [
    'a tar that breaks off',
    async () => (await tarOf(DOCKERFILE, [{ name: 'a' }, 'x'.repeat(5000)])).subarray(0, 3000),
    [400, 'invalid_source', /not a tar archive: Unexpected end of data/],
  ],
  [
    'a bomb',
    async () => tarGzOf(DOCKERFILE, [{ name: 'zeros' }, Buffer.alloc(10_000_000)]),
    [413, 'source_too_large', /over the limit of 200000 bytes, unzipped$/],
  ],
  [
    'too many files',
    async () => tarGzOf(...Array.from({ length: 51 }, (_, i): Entry => [{ name: `f${i}` }, ''])),
    [413, 'source_too_large', /over the limit of 50 files/],
  ],
  [
    'too many bytes',
    async () => tarOf(DOCKERFILE, [{ name: 'big' }, Buffer.alloc(100_000)]),
    [413, 'source_too_large', /source exceeds the maximum size of 100000 bytes/],
  ],
  [
    'no Dockerfile',
    async () => tarGzOf([{ name: 'app/Dockerfile' }, 'FROM scratch']),
    [400, 'dockerfile_required', /^dockerfile required: provide dockerfile parameter or include/],
  ],
  [
    'a folder with bytes of its own, which waited for ever',
    async () => withSize(await tarOf([{ name: 'd/', type: 'directory' }]), 5),
    [400, 'invalid_source', /"d\/" is a folder of 5 bytes/],
  ],
  [
    'a folder called Dockerfile',
    async () => tarGzOf([{ name: 'Dockerfile/', type: 'directory' }]),
    [400, 'dockerfile_required', /^dockerfile required/],
  ],
]

const ENTRIES: [string, Entry[0], RegExp][] = [
  ['a path that climbs out', { name: '../evil' }, /"\.\.\/evil" leaves the source/],
  ['a path that climbs out from within', { name: 'a/../../evil' }, /leaves the source/],
  [
    'a link in place of the source itself',
    { name: '.', type: 'symlink', linkname: 'b/a' },
    /own folder/,
  ],
  ['an absolute path', { name: '/etc/passwd' }, /"\/etc\/passwd" leaves the source/],
  ['a device file', { name: 'dev', type: 'block-device' }, /"dev" is a block-device/],
  [
    'a kind of file the agent cannot unpack',
    { name: 'c', type: 'contiguous-file' },
    /"c" is a contiguous-file; only/,
  ],
  ['a fifo', { name: 'pipe', type: 'fifo' }, /"pipe" is a fifo/],
  [
    'a link to an absolute path',
    { name: 'l', type: 'symlink', linkname: '/etc/passwd' },
    /"l" is a link to "\/etc\/passwd", which leaves/,
  ],
  [
    'a link that climbs out',
    { name: 'a/b/l', type: 'symlink', linkname: '../../../etc' },
    /"\.\.\/\.\.\/\.\.\/etc", which leaves the source/,
  ],
  [
    'a path with a NUL, which ended the agent',
    { name: 'file', pax: { path: 'a\0b' } },
    /"a\\u0000b" holds a NUL/,
  ],
  [
    'a link longer than any path',
    { name: 'l', type: 'symlink', linkname: 'a/'.repeat(2_049) },
    /a path is over 4096 bytes/,
  ],
  [
    'a hard link out',
    { name: 'h', type: 'link', linkname: '../etc/passwd' },
    /"h" is a hard link to "\.\.\/etc\/passwd", outside/,
  ],
  [
    'a hard link to nothing',
    { name: 'h', type: 'link', linkname: 'missing' },
    /"missing", which does not precede it/,
  ],
]

test('weakness 16: a source that is no good is refused at once, not after the VM has started', async (t) => {
  const api = await givenApi(t, { uploadLimits: UPLOAD_LIMITS })
  for (const [name, source, expected] of SOURCES) {
    await t.test(name, async () => {
      await assertRefused(api, post(['source', await source()]), expected)
    })
  }
  for (const [name, header, message] of ENTRIES) {
    await t.test(name, async () => {
      const source = await tarGzOf(DOCKERFILE, [header])
      await assertRefused(api, post(['source', source]), [400, 'invalid_source', message])
    })
  }
})

const FIELDS: [Fields[number], RegExp][] = [
  [['cpus', '9'], /^cpus exceeds maximum of 8$/],
  [['cpus', 'two'], /^field cpus="two": must be a whole number$/],
  [['cpus', '1.5'], /must be a whole number/],
  [['memory_mb', '16385'], /^memory_mb exceeds maximum of 16384 MB$/],
  [['memory_mb', '100'], /memory_mb=100: .*512/],
  [['memory_mb', '1e3'], /must be a whole number/],
  [['timeout_seconds', 'soon'], /^field timeout_seconds="soon": must be a whole number$/],
  [['timeout_seconds', '21601'], /^timeout_seconds exceeds maximum of 21600$/],
  [['tags', 'team=a'], /^tags must be a JSON object with string key-value pairs$/],
  [['tags', '{"a":1}'], /^tags must be a JSON object with string key-value pairs$/],
  [['tags', '["a"]'], /^tags must be a JSON object with string key-value pairs$/],
  [['tags', '{"a\\nb":"x"}'], /must be a tag key/],
  [['tags', JSON.stringify({ a: 'x'.repeat(257) })], /field tags\.a=/],
  [
    [
      'tags',
      JSON.stringify(Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`t${i}`, '']))),
    ],
    /at most 50 tags/,
  ],
  [
    ['secrets', 'npm_token'],
    /^secrets must be a JSON array of \{"id": "\.\.\.", "env_var": "\.\.\."\} objects$/,
  ],
  [['secrets', '{"id":"a"}'], /^secrets must be a JSON array of/],
  [['secrets', '[{"name":"a"}]'], /^secrets must be a JSON array of/],
  [['secrets', '[{"id":"../../etc/passwd"}]'], /field secrets\.0\.id="\.\.\/\.\.\/etc\/passwd"/],
  [['build_args', 'A=1'], /^build_args must be a JSON object with string key-value pairs$/],
  [['build_args', '{"A B":"1"}'], /must be a build argument name/],
  [['build_args', '{"BUILDKIT_SYNTAX":"evil"}'], /BUILDKIT_\* is reserved/],
  [['build_policy', '5'], /^build_policy must be a JSON object$/],
  [
    ['build_policy', '{"network_mode":"host"}'],
    /^field build_policy\.network_mode="host": must be isolated or egress$/,
  ],
  [
    ['build_policy', '{"network_mode":"isolated","allowed_domains":["example.com"]}'],
    /allowed_domains.*egress/,
  ],
  // Not lost without a word, as a record would.
  [['tags', '{"__proto__":"x"}'], /^field tags\.__proto__: is not taken as a name/],
  [['build_args', '{"__proto__":"x"}'], /^field build_args\.__proto__: is not taken as a name/],
  [['secrets', '[{"id":"a","env_var":"a b"}]'], /must be the name of a variable/],
  [['base_image_digest', 'latest'], /must be sha256: and 64 hexadecimal digits/],
  [['source_hash', 'abc'], /must be a SHA-256/],
  [['dockerfile_path', '../Dockerfile'], /must be a relative path inside the source/],
  [['dockerfile_path', '/Dockerfile'], /must be a relative path inside the source/],
  [['target', 'a b'], /field target="a b": must be the name of a stage/],
  [['cache_scope', 'global/node'], /must be 3 to 64 lower-case letters/],
  [['cache_scope', '../x'], /^field cache_scope=.*must be 3 to 64 lower-case letters/],
  [['cache_scope', 'x,ref=other/repo'], /^field cache_scope=.*must be 3 to 64 lower-case letters/],
  [['cache_scope', 'a'], /^field cache_scope=.*must be 3 to 64 lower-case letters/],
  [['cache_scope', 'a--b'], /^field cache_scope=.*must be 3 to 64 lower-case letters/],
  [
    ['global_cache_key', 'node/../x'],
    /^field global_cache_key=.*must be 3 to 64 lower-case letters/,
  ],
  [['runtime', 'node,mode=max'], /^field runtime=.*must be 3 to 64 lower-case letters/],
  [['attestations', 'max'], /^attestations must be a JSON object$/],
  [['attestations', '{"provenance":"all"}'], /^field attestations\.provenance=/],
  [['global_cache_key', 'Node'], /must be 3 to 64 lower-case letters/],
  [['runtime', '-'], /must be 3 to 64 lower-case letters/],
  [['platform', 'amd64'], /^invalid platform "amd64": must be os\/arch or os\/arch\/variant$/],
  [['platform', 'linux/riscv64'], /^platform linux\/riscv64 is not built here: only linux\//],
  [['platform', 'windows/amd64'], /is not built here/],
  [['image_name', 'apps/other/web'], /^invalid image_name: "apps\/other\/web" is not apps\/acme\//],
  [['image_name', 'web:v1'], /^invalid image_name/],
  [['image_name', 'apps/acme/a/b'], /^invalid image_name/],
  [['image_name', 'apps/acme/web:'], /^invalid image_name/],
  [['image_name', 'apps/acme/Web'], /^invalid image_name/],
  [['is_admin_build', 'yes'], /must be true or false/],
  [['dockerfle', 'FROM scratch'], /^field "dockerfle" is not known here; known are .*dockerfile/],
  [['dockerfile', Buffer.from([0xff, 0xfe])], /^dockerfile is not UTF-8 text$/],
  [
    ['dockerfile', 'x'.repeat(1024 * 1024 + 1)],
    /^dockerfile exceeds the maximum size of 1048576 bytes$/,
  ],
  [['commit', 'abcdef1'], /commit.*app/],
]

test('a field that is no good is named, before the source and after it', async (t) => {
  const api = await givenApi(t)
  const source: Fields[number] = ['source', await tarGzOf(DOCKERFILE)]
  for (const [field, message] of FIELDS) {
    const expected: Refusal = [400, 'invalid_request', message]
    await t.test(`${field[0]} ${message.source}`, async () => {
      await assertRefused(api, post(field, source), expected)
      await assertRefused(api, post(source, field), expected)
    })
  }
})

test('exactly at its limit a field is taken', async (t) => {
  const api = await givenApi(t)
  const dockerfile = `#${'x'.repeat(1024 * 1024 - 1)}`
  const reply = await api.call(
    '/builds',
    post(
      ['source', await tarGzOf(DOCKERFILE)],
      ['dockerfile', dockerfile],
      ['cpus', '8'],
      ['memory_mb', '16384'],
    ),
  )
  assert.equal(reply.status, 202)
})

test('the same field twice, two policies that differ, and no source are refused', async (t) => {
  const api = await givenApi(t)
  const source: Fields[number] = ['source', await tarGzOf(DOCKERFILE)]
  const cases: [Fields, RegExp][] = [
    [[source, ['cpus', '1'], ['cpus', '1']], /^field "cpus" is there twice$/],
    [[source, source], /^field "source" is there twice$/],
    [
      [['build_policy', '{"cpus":4}'], source, ['cpus', '2']],
      /^cpus=2 and build_policy.cpus=4 differ/,
    ],
    [[['dockerfile', 'FROM scratch']], /^source is required$/],
  ]
  for (const [fields, message] of cases) {
    await assertRefused(api, post(...fields), [400, 'invalid_request', message])
  }
})

test('an image_name in the repository of an app would overwrite the images of its branches: it is refused', async (t) => {
  const api = await givenApi(t)
  await api.db('apps').insert({ id: 'a1', tenant: 'acme', name: 'web', settings: '{}' })
  await api.db('apps').insert({ id: 'a2', tenant: 'other', name: 'site', settings: '{}' })
  const source: Fields[number] = ['source', await tarGzOf(DOCKERFILE)]
  for (const name of ['apps/acme/web:main', 'apps/acme/web']) {
    const refusal: Refusal = [
      409,
      'conflict',
      /^image_name=apps\/acme\/web:\w+: there is an app web/,
    ]
    await assertRefused(api, post(source, ['image_name', name]), refusal)
  }
  const free = await api.call('/builds', post(source, ['image_name', 'apps/acme/site:main']))
  assert.equal(free.status, 202, 'an app of another tenant is another name')
})

test('weakness 19: a source_hash that is not the source’s is refused', async (t) => {
  const api = await givenApi(t)
  const source = await tarGzOf(DOCKERFILE)
  await assertRefused(api, post(['source', source], ['source_hash', 'a'.repeat(64)]), [
    400,
    'source_hash_mismatch',
    /^source hash mismatch: a{64} was expected, the source has sha256:/,
  ])
})

test('weakness 1: is_admin_build needs the permission build:admin', async (t) => {
  const api = await givenApi(t)
  const form = () => post(['is_admin_build', 'true'], ['source', source])
  const source = await tarGzOf(DOCKERFILE)
  await assertRefused(api, form(), [403, 'forbidden', /missing required scope: build:admin/])
  const admin = await api.token({ admin: true })
  assert.equal((await api.call('/builds', { ...form(), token: admin })).status, 202)
})

test('an unknown builder is not found', async (t) => {
  const api = await givenApi(t)
  const source = await tarGzOf(DOCKERFILE)
  await assertRefused(api, post(['source', source], ['builder_id', 'cache-1']), [
    404,
    'not_found',
    /^builder not found$/,
  ])
})

test('a token without build:write is refused before the body is read', async (t) => {
  const api = await givenApi(t)
  const token = await api.token({ permissions: ['build:read'] })
  const reply = await api.call('/builds', { ...post(['source', 'not read']), token })
  assert.equal(reply.status, 403)
})

test('a body that is no form is said so', async (t) => {
  const api = await givenApi(t)
  const plain = { 'content-type': 'text/plain' }
  const multipart = { 'content-type': 'multipart/form-data; boundary=x' }
  const cases: [RequestInit, RegExp][] = [
    [{ headers: plain, body: '{}' }, /content-type="text\/plain": send the body as multipart/],
    [
      { headers: { 'content-type': 'multipart/form-data' }, body: 'x' },
      /send the body as multipart/,
    ],
    [
      { headers: { 'content-type': 'multipart/form-data; charset=x' }, body: 'x' },
      /Boundary not found/,
    ],
    [{ headers: multipart, body: 'no parts' }, /not valid multipart/],
    [
      { headers: multipart, body: '--x\r\nContent-Disposition: form-data; name="cpus"\r\n\r\n1' },
      /valid/,
    ],
    [
      { headers: multipart, body: '--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n' },
      /not known/,
    ],
    [{ headers: multipart, body: '--x--\r\n' }, /source is required/],
  ]
  for (const [init, message] of cases) {
    await assertRefused(api, { method: 'POST', ...init }, [400, 'invalid_request', message])
  }
})

test('weakness 33: links within the source are kept, also those that go up', async (t) => {
  const api = await givenApi(t)
  const source = await tarGzOf(
    DOCKERFILE,
    [{ name: 'packages/a/index.js' }, 'x'],
    [{ name: 'packages/b/node_modules/a', type: 'symlink', linkname: '../../a' }],
    [{ name: 'up', type: 'symlink', linkname: './packages/../Dockerfile' }],
    [{ name: './same.js', type: 'link', linkname: 'packages/a/index.js' }],
  )
  assert.equal((await api.call('/builds', post(['source', source]))).status, 202)
})

test('a full disk takes nothing to build', async (t) => {
  const api = await givenApi(t, { freeBytesMin: Number.MAX_SAFE_INTEGER })
  await assertRefused(api, post(['source', await tarGzOf(DOCKERFILE)]), [
    503,
    'disk_full',
    /MiB of disk left and takes nothing in below/,
  ])
})
