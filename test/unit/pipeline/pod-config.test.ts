// What of a build's request reaches the agent.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CACHE_EXPORT_DEADLINE_MS } from '../../../server/limits.ts'
import { podConfig, resourcesOf } from '../../../server/pipeline/pod-config.ts'
import type { ClaimedBuild } from '../../../server/queue/claim.ts'

const GIVEN = {
  token: 't',
  publicName: 'registry.example',
  channelKey: 'k',
  cache: { imports: [] },
  mirrors: [],
}

function configOf(request: ClaimedBuild['request']) {
  const build = { id: 'b1', sourceHash: 'sha256:0', request } as ClaimedBuild
  const secrets = { given: [], nonce: 'n' }
  return podConfig(build, resourcesOf(build, 600), GIVEN, secrets)
}

test('weakness 32: build arguments, target, Dockerfile and its path reach the agent as they were given', () => {
  const request = {
    dockerfile: 'FROM scratch\n',
    dockerfile_path: 'deploy/Dockerfile.prod',
    target: 'final',
    base_image_digest: `sha256:${'a'.repeat(64)}`,
    platform: 'linux/amd64',
    build_args: { A: '1,2\n"3"', B: '' },
    no_cache: true,
  }
  const config = configOf(request)
  for (const [name, value] of Object.entries(request)) {
    assert.deepEqual(config[name as keyof typeof config], value, name)
  }
})

test('what was not asked for is absent', () => {
  const config = configOf({})
  assert.ok(!('dockerfile' in config) && !('build_args' in config) && !('target' in config))
})

test('the domains a build may reach are handed on', () => {
  const allowed_domains = ['*.example.org']
  assert.deepEqual(configOf({ build_policy: { allowed_domains } }).allowed_domains, allowed_domains)
})

test('an image says which commit it is, where that is hosted and of when; an upload has none of it', () => {
  const build = {
    id: 'b1',
    sourceHash: 'sha256:0',
    commit: 'c'.repeat(40),
    request: { source_date_epoch: 1_700_000_000 },
  } as ClaimedBuild
  const sourceUrl = 'https://builds.example/acme/web.git'
  const given = { ...GIVEN, sourceUrl }
  const { labels } = podConfig(build, resourcesOf(build, 600), given, { given: [], nonce: 'n' })
  assert.deepEqual(labels, {
    'org.opencontainers.image.revision': build.commit,
    'org.opencontainers.image.source': sourceUrl,
    'org.opencontainers.image.created': '2023-11-14T22:13:20.000Z',
  })
  assert.deepEqual(configOf({}).labels, {})
})

test('provenance is attested unless it is turned off', () => {
  assert.deepEqual(configOf({}).attestations, { provenance: 'min' })
  const attestations = { provenance: 'off' as const, sbom: true }
  assert.deepEqual(configOf({ attestations }).attestations, attestations)
})

test('the caches of the plan reach the agent, with the time the export has', () => {
  const request = { cache_scope: 'web', global_cache_key: 'node' }
  const build = { id: 'b1', sourceHash: 'sha256:0', request } as ClaimedBuild
  const cache = { imports: ['cache/global/node'], export: 'cache/acme/web' }
  const given = { ...GIVEN, cache }
  const config = podConfig(build, resourcesOf(build, 600), given, { given: [], nonce: 'n' })
  assert.deepEqual(config.cache_imports, cache.imports)
  assert.equal(config.cache_export, cache.export)
  assert.equal(config.cache_export_seconds, CACHE_EXPORT_DEADLINE_MS / 1000)
  assert.ok(!('cache_imports' in configOf(request)) && !('cache_export' in configOf(request)))
})
