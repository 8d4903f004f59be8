import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildctlArgs, writeCredentials } from '../../../agent/buildctl.ts'
import { buildkitdToml } from '../../../agent/buildkitd.ts'
import type { BuildConfig } from '../../../agent/protocol.ts'
import { proxyEnv } from '../../../agent/proxy.ts'
import { tunnelArgs } from '../../../agent/tunnels.ts'
import { givenConfig } from './given-config.ts'

const PATHS = {
  socket: '/run/bk.sock',
  metadataFile: '/run/meta.json',
  secretsFolder: '/run/secrets',
}

function argsFor(more: Partial<BuildConfig> = {}): string[] {
  return buildctlArgs(givenConfig(more), PATHS)
}

/** The values of a repeated flag. */
function valuesOf(args: readonly string[], flag: string): string[] {
  return args.flatMap((arg, index) => (args[index - 1] === flag ? [arg] : []))
}

test('the image is pushed by digest to the repository of the build and nowhere else', () => {
  const [output, ...others] = valuesOf(argsFor(), '--output')
  assert.match(
    output ?? '',
    /^type=image,name=localhost:5000\/builds\/b1,push=true,push-by-digest=true,/,
  )
  assert.deepEqual(others, [])
})

test('a syntax line is ignored and an isolated build has no network', () => {
  const options = valuesOf(argsFor(), '--opt')
  assert.ok(options.includes('cmdline=dockerfile.v0'))
  assert.ok(options.includes('force-network-mode=none'))
  assert.ok(!options.some((option) => /proxy/i.test(option)))
})

test('values of a tenant stay one argument and cannot become an option', () => {
  const evil = 'x,push=false --opt force-network-mode=host\nfilename=y'
  const args = argsFor({
    build_args: { MSG: evil },
    labels: { 'org.opencontainers.image.revision': evil },
    dockerfile_path: 'a,b=c/Docker file',
  })
  const options = valuesOf(args, '--opt')
  assert.ok(options.includes(`build-arg:MSG=${evil}`))
  assert.ok(options.includes(`label:org.opencontainers.image.revision=${evil}`))
  assert.ok(options.includes('filename=Docker file'))
  assert.deepEqual(valuesOf(args, '--local'), ['context=/src', 'dockerfile=/src/a,b=c'])
  assert.equal(valuesOf(args, '--output').length, 1)
  assert.equal(options.filter((option) => option.startsWith('force-network-mode')).length, 1)
})

test('the platform and the source policy are passed on, and only when there are any', () => {
  const paths = { ...PATHS, sourcePolicyFile: '/run/policy.json' }
  const args = buildctlArgs(givenConfig({ platform: 'linux/amd64' }), paths)
  assert.ok(valuesOf(args, '--opt').includes('platform=linux/amd64'))
  assert.deepEqual(valuesOf(args, '--source-policy-file'), ['/run/policy.json'])
  assert.ok(!argsFor().includes('--source-policy-file'))
  assert.ok(!valuesOf(argsFor(), '--opt').some((option) => option.startsWith('platform')))
})

test('an egress build gets the proxy in upper and lower case, and the user may change it', () => {
  const build_args = { HTTP_PROXY: 'http://mine:1' }
  const options = valuesOf(argsFor({ network_mode: 'egress', build_args }), '--opt')
  assert.ok(options.includes('build-arg:https_proxy=http://127.0.0.1:3128'))
  assert.ok(options.includes('build-arg:HTTPS_PROXY=http://127.0.0.1:3128'))
  assert.ok(options.includes('build-arg:HTTP_PROXY=http://mine:1'))
  assert.equal(options.filter((option) => option.startsWith('build-arg:HTTP_PROXY=')).length, 1)
  assert.ok(!options.some((option) => option.startsWith('force-network-mode')))
})

test('our own registry is never asked for through the proxy', () => {
  const config = givenConfig({ network_mode: 'egress', registry_public_name: '[::2]:8083' })
  assert.equal(proxyEnv(config).NO_PROXY, 'localhost,127.0.0.1,::1,::2')
  assert.deepEqual(proxyEnv(givenConfig()), {})
})

test('a Dockerfile given as text is read from its own folder', () => {
  const args = buildctlArgs(givenConfig({ dockerfile: 'FROM scratch' }), {
    ...PATHS,
    dockerfileFolder: '/run/df',
  })
  assert.deepEqual(valuesOf(args, '--local'), ['context=/src', 'dockerfile=/run/df'])
})

test('weakness 8: a secret is offered under its id and its env_var, by file; no value is an argument', () => {
  const secrets = [
    { id: 'npm_token', env_var: 'NPM_TOKEN' },
    { id: 'A', env_var: 'A' },
    { id: 'b' },
  ]
  const args = argsFor({ secrets, secrets_nonce: 'n'.repeat(43) })
  assert.deepEqual(valuesOf(args, '--secret'), [
    'id=npm_token,src=/run/secrets/npm_token',
    'id=NPM_TOKEN,src=/run/secrets/npm_token',
    'id=A,src=/run/secrets/A',
    'id=b,src=/run/secrets/b',
  ])
  assert.ok(!args.join().includes('nnn'))
})

test('the token is in a file only root reads, for both names of the registry, never in arguments', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'credentials-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const config = givenConfig()
  writeCredentials(config, join(folder, 'docker'))
  const file = join(folder, 'docker/config.json')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    auths: {
      'localhost:5000': { registrytoken: 'the-token' },
      'hub.example:8083': { registrytoken: 'the-token' },
    },
  })
  const options = { socket: '/s', cpus: 2, rootless: false }
  const seen = [...buildctlArgs(config, PATHS), buildkitdToml(config, options)].join('\n')
  assert.ok(!seen.includes('the-token'))
})

test('the public name of the registry is a mirror of its tunnel', () => {
  const toml = buildkitdToml(givenConfig(), { socket: '/s', cpus: 2, rootless: false })
  assert.match(toml, /\[registry\."hub\.example:8083"\]\nmirrors = \["localhost:5000"\]/)
  assert.match(toml, /\[registry\."localhost:5000"\]\nhttp = true/)
})

test('a mirrored registry is read through ours first, below its own name', () => {
  const config = givenConfig({ registry_mirrors: ['docker.io', 'ghcr.io'] })
  const toml = buildkitdToml(config, { socket: '/s', cpus: 2, rootless: false })
  assert.match(
    toml,
    /\[registry\."docker\.io"\]\nmirrors = \["localhost:5000\/mirror\/docker\.io"\]/,
  )
  assert.match(toml, /\[registry\."ghcr\.io"\]\nmirrors = \["localhost:5000\/mirror\/ghcr\.io"\]/)
})

test('the daemon collects on the disk of a builder alone, down to what may stay there', () => {
  const options = { socket: '/s', cpus: 2, rootless: false }
  assert.match(buildkitdToml(givenConfig(), options), /\ngc = false\n/)
  const cache_disk = { max_used_mb: 12_884, keep_hours: 168, save: true }
  const toml = buildkitdToml({ ...givenConfig(), cache_disk }, options)
  assert.match(toml, /\ngc = true\ngcpolicy = \[\{ all = true, maxUsedSpace = 12884000000 \}\]\n/)
})

test('a tunnel listens on loopback only and leads to the same port of the host', () => {
  const [, , listen, dial] = tunnelArgs(5000)
  assert.match(listen ?? '', /^TCP-LISTEN:5000,bind=127\.0\.0\.1,/)
  assert.equal(dial, 'VSOCK-CONNECT:2:5000')
})
