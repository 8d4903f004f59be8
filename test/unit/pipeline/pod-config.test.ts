// What of a build's request reaches the agent.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { podConfig, resourcesOf } from '../../../server/pipeline/pod-config.ts'
import type { ClaimedBuild } from '../../../server/queue/claim.ts'

const GIVEN = { token: 't', publicName: 'registry.example', channelKey: 'k' }

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
