// POST /builds: what is queued and how it is stored; whatever the order of the fields.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { createBuildStore } from '../../server/builds/store.ts'
import { givenApi, type TestApi } from '../helpers/api.ts'
import { givenWorkerEntry } from '../helpers/fake-worker.ts'
import { bodyOf } from '../helpers/http.ts'
import { DOCKERFILE, post, tarGzOf, tarOf } from '../helpers/sources.ts'

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

async function queued(api: TestApi, init: RequestInit) {
  const reply = await api.call('/builds', init)
  const build = await bodyOf(reply)
  assert.equal(reply.status, 202, JSON.stringify(build))
  const row = await createBuildStore(api).get(build.id)
  return { build, row: row! }
}

test('a source is queued: 202, the build as it is, its tar in the store', async (t) => {
  const api = await givenApi(t)
  await givenWorkerEntry(api.db)
  const tar = await tarOf(DOCKERFILE)
  const archive = await tarGzOf(DOCKERFILE)
  const { build, row } = await queued(api, post(['source', archive]))
  assert.deepEqual(
    { ...build, id: '', created_at: '' },
    { id: '', status: 'queued', queue_position: 1, attempt: 0, pusher: 'ada', created_at: '' },
  )
  assert.equal(row.tenant, 'acme')
  assert.deepEqual(row.request, {})
  assert.equal(row.sourceHash, `sha256:${sha256(archive)}`)
  assert.equal(row.sourceKey, `sources/${sha256(tar)}`)
  assert.equal(row.sourceBytes, tar.length)
  assert.deepEqual(await readFile(api.objects.path(row.sourceKey)), tar)
  assert.deepEqual(await api.objectFiles(), [`${sha256(tar)}.tar`])
})

test('a plain tar is taken as well', async (t) => {
  const api = await givenApi(t)
  const tar = await tarOf(DOCKERFILE)
  const { row } = await queued(api, post(['source', tar]))
  assert.equal(row.sourceHash, `sha256:${sha256(tar)}`)
  assert.deepEqual(await readFile(api.objects.path(row.sourceKey)), tar)
})

test('every field is stored, whether it comes before the source or after it', async (t) => {
  const api = await givenApi(t)
  const archive = await tarGzOf([{ name: './deploy/Dockerfile.prod' }, 'FROM scratch'])
  const fields: [string, string][] = [
    ['dockerfile_path', 'deploy/Dockerfile.prod'],
    ['target', 'final'],
    ['platform', process.arch === 'arm64' ? 'linux/arm64' : 'linux/amd64'],
    ['build_args', '{"A":"1,2\\n3"}'],
    ['secrets', '[{"id":"npm_token","env_var":"NPM_TOKEN"}]'],
    ['tags', '{"team":"backend"}'],
    ['build_policy', '{"network_mode":"egress","allowed_domains":["example.com"]}'],
    ['timeout_seconds', '900'],
    ['memory_mb', '1024'],
    ['cpus', '2'],
    ['base_image_digest', `sha256:${'a'.repeat(64)}`],
    ['source_hash', sha256(archive)],
    ['cache_scope', 'team-a'],
    ['global_cache_key', 'node'],
    ['runtime', 'nodejs20'],
    ['image_name', 'apps/acme/web:v1'],
    ['no_cache', '1'],
  ]
  const orders: [string, string | Buffer][][] = [
    [['source', archive], ...fields],
    [...fields, ['source', archive]],
    [...fields.slice(0, 5), ['source', archive], ...fields.slice(5)],
  ]
  for (const order of orders) {
    const { build, row } = await queued(api, post(...order))
    assert.deepEqual(build.tags, { team: 'backend' })
    const { platform, ...request } = row.request
    assert.match(platform!, /^linux\//)
    assert.deepEqual(request, {
      dockerfile_path: 'deploy/Dockerfile.prod',
      target: 'final',
      build_args: { A: '1,2\n3' },
      secrets: [{ id: 'npm_token', env_var: 'NPM_TOKEN' }],
      build_policy: {
        network_mode: 'egress',
        allowed_domains: ['example.com'],
        timeout_seconds: 900,
        memory_mb: 1024,
        cpus: 2,
      },
      base_image_digest: `sha256:${'a'.repeat(64)}`,
      cache_scope: 'team-a',
      global_cache_key: 'node',
      runtime: 'nodejs20',
      image_name: 'apps/acme/web:v1',
      no_cache: true,
    })
  }
})

test('numbers of 0 or less and empty fields mean the default', async (t) => {
  const api = await givenApi(t)
  const { row } = await queued(
    api,
    post(
      ['cpus', '0'],
      ['memory_mb', '-1'],
      ['timeout_seconds', ''],
      ['tags', ''],
      ['source', await tarGzOf(DOCKERFILE)],
    ),
  )
  assert.deepEqual(row.request, {})
})

test('weakness 32: a Dockerfile given is stored with the build and not written into the source', async (t) => {
  const api = await givenApi(t)
  const tar = await tarOf(DOCKERFILE)
  const dockerfile = Buffer.from('FROM scratch\nCOPY . /\n')
  const typed = await queued(api, post(['source', tar], ['dockerfile', dockerfile.toString()]))
  const asFile = await queued(api, post(['dockerfile', dockerfile], ['source', tar]))
  for (const { row } of [typed, asFile]) {
    assert.equal(row.request.dockerfile, dockerfile.toString())
    assert.deepEqual(await readFile(api.objects.path(row.sourceKey)), tar)
  }
})
