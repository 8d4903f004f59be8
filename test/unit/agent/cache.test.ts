// The cache as BuildKit is told of it, with the examples of seeds 000 and 002, and what BuildKit tells of it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildctlArgs, cacheExportArgs } from '../../../agent/buildctl.ts'
import { exportCacheArg, importCacheArg } from '../../../agent/cache.ts'
import { parseConfig } from '../../../agent/config.ts'
import { createProgress } from '../../../agent/progress.ts'
import type { BuildConfig, EventMessage } from '../../../agent/protocol.ts'
import { givenConfig } from './given-config.ts'

const PATHS = { socket: '/s', metadataFile: '/m', secretsFolder: '/secrets' }
const CACHED: Partial<BuildConfig> = {
  cache_imports: ['cache/global/node', 'cache/acme/my-tenant'],
  cache_export: 'cache/acme/my-tenant',
}

function valuesOf(args: readonly string[], flag: string): string[] {
  return args.flatMap((arg, index) => (args[index - 1] === flag ? [arg] : []))
}

test('the arguments are those of seed 000, and of later versions that other registries need', () => {
  const reference = 'localhost:8080/cache/my-tenant/myapp/abc123'
  assert.equal(importCacheArg(reference), `type=registry,ref=${reference}`)
  const [type, ref, ...more] = exportCacheArg(reference).split(',')
  assert.deepEqual([type, ref], ['type=registry', `ref=${reference}`])
  for (const option of ['mode=max', 'image-manifest=true', 'oci-mediatypes=true']) {
    assert.ok(more.includes(option), option)
  }
})

test('the global cache is asked before the own one; the image’s own run exports nothing', () => {
  const args = buildctlArgs(givenConfig(CACHED), PATHS)
  assert.deepEqual(valuesOf(args, '--import-cache'), [
    'type=registry,ref=localhost:5000/cache/global/node',
    'type=registry,ref=localhost:5000/cache/acme/my-tenant',
  ])
  assert.ok(!args.includes('--export-cache'))
  assert.ok(!buildctlArgs(givenConfig(), PATHS).includes('--import-cache'))
})

test('the run that exports the cache pushes no image, has no secret and builds with what the first run made', () => {
  const secrets = { secrets: [{ id: 'a' }], secrets_nonce: 'n'.repeat(43) }
  const args = cacheExportArgs(givenConfig({ ...CACHED, ...secrets, no_cache: true }), PATHS)
  assert.match(
    valuesOf(args, '--export-cache').join(),
    /^type=registry,ref=localhost:5000\/cache\/acme\//,
  )
  for (const flag of ['--output', '--metadata-file', '--secret', '--no-cache']) {
    assert.ok(!args.includes(flag), flag)
  }
})

test('a repository that could add a field to BuildKit’s options is refused', () => {
  for (const repository of ['x,ref=other/repo', '../x', 'a//b', 'A', '']) {
    for (const more of [{ cache_imports: [repository] }, { cache_export: repository }]) {
      assert.throws(() => parseConfig(JSON.stringify(givenConfig(more))), /field cache_/)
    }
  }
  assert.deepEqual(parseConfig(JSON.stringify(givenConfig(CACHED))), givenConfig(CACHED))
})

test('attestations are BuildKit’s; the generator of the list of contents is one of this registry', () => {
  const attested = (attestations?: BuildConfig['attestations']) =>
    valuesOf(
      buildctlArgs(givenConfig(attestations ? { attestations } : {}), PATHS),
      '--opt',
    ).filter((option) => option.startsWith('attest:'))
  assert.deepEqual(attested({ provenance: 'min' }), ['attest:provenance=mode=min,version=v1'])
  assert.deepEqual(attested({ provenance: 'off', sbom: true }), [
    'attest:sbom=generator=localhost:5000/library/buildkit-syft-scanner:stable-1',
  ])
  assert.deepEqual(attested(), [])
  const wrong = JSON.stringify({ ...givenConfig(), attestations: { provenance: 'min,x=y' } })
  assert.throws(() => parseConfig(wrong), /attestations\.provenance/)
})

test('times of files are rewritten to the commit’s, when there is a commit', () => {
  const outputOf = (more: Partial<BuildConfig>) =>
    valuesOf(buildctlArgs(givenConfig(more), PATHS), '--output').join()
  assert.match(outputOf({ source_date_epoch: 1 }), /,rewrite-timestamp=true$/)
  assert.doesNotMatch(outputOf({}), /rewrite-timestamp/)
})

test('a cache that is not there yet is said in one line, and is neither a step nor a failure', () => {
  const told: EventMessage[] = []
  const progress = createProgress((message) => told.push(message))
  const vertex = (repository: string, error?: string) => ({
    digest: `random:${repository}`,
    name: `importing cache manifest from localhost:5000/${repository}`,
    started: '2026-01-01T00:00:00Z',
    completed: '2026-01-01T00:00:01Z',
    ...(error ? { error } : {}),
  })
  const vertexes = [
    vertex('cache/global/node'),
    vertex('cache/acme/new', 'localhost:5000/cache/acme/new:latest: not found'),
    vertex('cache/acme/sick', 'unexpected status: 500 Internal Server Error'),
  ]
  for (let i = 0; i < 2; i += 1) progress.feed(JSON.stringify({ vertexes }))
  progress.end()
  assert.deepEqual(told, [
    { type: 'log', log: 'Cache found at cache/global/node' },
    { type: 'log', log: 'No cache at cache/acme/new yet' },
    {
      type: 'log',
      log: 'warning: the cache cache/acme/sick could not be imported: unexpected status: 500 Internal Server Error',
    },
  ])
  assert.equal(progress.facts.failed(), undefined)
})
