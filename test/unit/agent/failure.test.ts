import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explainFailure, type FailureFacts } from '../../../agent/failure.ts'
import { recorded, replay } from './recorded.ts'

const CONFIG: FailureFacts['config'] = {
  registry_url: 'localhost:5000',
  registry_public_name: 'hub.example:8083',
  network_mode: 'isolated',
}

function explain(name: string, more: Partial<FailureFacts> = {}) {
  const { facts } = replay(recorded(name))
  return explainFailure({
    config: CONFIG,
    exitCode: 1,
    error: facts.plainLines.findLast((line) => line.startsWith('error: ')) ?? '',
    failed: facts.failed(),
    oomKills: 0,
    buildkitdAlive: true,
    ...more,
  })
}

const ranOut = (lastLines: string[], error: string) => ({
  failed: { n: 4, name: '[3/3] RUN fill', error, lastLines },
})
const EXIT_1 = 'process "/bin/sh -c fill" did not complete successfully: exit code: 1'

test('a failing RUN is class build, with step, exit code and last lines', () => {
  const failure = explain('failing-run')
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /^step 5 \(\[stage-1 2\/2\] RUN .*\) failed with exit code 3$/)
  assert.equal(failure.failed_step?.exit_code, 3)
  assert.deepEqual(failure.failed_step?.last_lines, ['boom', 'bad'])
})

test('a Dockerfile that does not parse is class build and says the line', () => {
  const failure = explain('parse-error')
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /^dockerfile parse error on line 1: unknown instruction: FRM/)
  assert.equal(failure.failed_step, undefined)
})

test('a COPY of a missing file is class build', () => {
  const failure = explain('missing-file')
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /\[1\/1\] COPY nope \/x.*"\/nope": not found/)
})

test('a base image that does not exist is class build', () => {
  const failure = explain('missing-base')
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /base image hub.example:8083\/library\/nope:1 .*not found/)
})

test('a base image outside that an isolated build cannot reach says that it is isolated', () => {
  const failure = explain('unreachable-base')
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /isolated: only images of this registry\)$/)
})

test('a base image outside, where other registries have mirrors: the words name these', () => {
  const failure = explain('unreachable-base', {
    config: { ...CONFIG, registry_mirrors: ['ghcr.io'] },
  })
  assert.equal(failure.failure_class, 'build')
  assert.match(failure.error, /isolated: only images of this registry, and of ghcr\.io\)$/)
})

test('a base image that its mirror cannot get is class registry, not a mistake in the Dockerfile', () => {
  const failed = {
    n: 2,
    name: '[internal] load metadata for docker.io/library/tst:nope',
    error:
      'docker.io/library/tst:nope: unexpected status from HEAD request to http://localhost:5000/v2/mirror/docker.io/library/tst/manifests/nope?ns=docker.io: 503 Service Unavailable',
    lastLines: [],
  }
  const config = { ...CONFIG, registry_mirrors: ['docker.io'] }
  const failure = explain('unreachable-base', { config, failed })
  assert.equal(failure.failure_class, 'registry')
  assert.doesNotMatch(failure.error, /isolated/)
})

test('a base image of our own registry that cannot be reached is class registry', () => {
  const failure = explain('unreachable-base', {
    failed: {
      n: 2,
      name: '[internal] load metadata for localhost:5000/library/base:1',
      error: 'failed to do request: dial tcp 127.0.0.1:5000: connect: connection refused',
      lastLines: [],
    },
  })
  assert.equal(failure.failure_class, 'registry')
})

test('a refused push is class registry', () => {
  const failure = explain('push-refused')
  assert.equal(failure.failure_class, 'registry')
  assert.match(failure.error, /could not be pushed/)
})

test('a step killed for memory is class oom, however BuildKit words it', () => {
  for (const how of ['exit code: 137', 'cannot allocate memory']) {
    const error = `process "/bin/sh -c fill" did not complete successfully: ${how}`
    const failure = explain('failing-run', { ...ranOut([], error), oomKills: 1 })
    assert.equal(failure.failure_class, 'oom', how)
    // A build that was sent without an app has no app's setting to raise.
    assert.match(failure.error, /; raise memory_mb$/)
  }
})

test('a step that ends itself with 137 is class build when nothing was killed', () => {
  const error = 'process "/bin/sh -c exit 137" did not complete successfully: exit code: 137'
  assert.equal(explain('failing-run', ranOut([], error)).failure_class, 'build')
})

test('a full disk is class disk by what the step printed, not by what its command says', () => {
  const printed = ranOut(['dd: /big: No space left on device'], EXIT_1)
  assert.equal(explain('failing-run', printed).failure_class, 'disk')
  const quoted = EXIT_1.replace('fill', 'echo no space left on device >/dev/null; false')
  assert.equal(explain('failing-run', ranOut([], quoted)).failure_class, 'build')
})

test('what BuildKit kept and finds missing or changed is class infra, whatever step meets it', () => {
  const sha = `sha256:${'a'.repeat(64)}`
  for (const error of [
    'failed to read dockerfile: failed to prepare  as 347q6b: failed to open database file: invalid database',
    'failed to prepare zikmtk as xgdrmq: parent snapshot zikmtk does not exist: not found',
    'failed to prepare  as ecurk7: failed to rename: rename /var/lib/buildkit/new /var/lib/buildkit/1: file exists',
    `failed to get reader: blob ${sha} expected at /var/lib/buildkit/x: blob not found: not found`,
    `unexpected digest ${sha} copied`,
    'failed to walk: resolve : lstat /var/lib/buildkit/runc-overlayfs/snapshots/1: no such file or directory',
    'failed to push localhost:5000/builds/b1: digest invalid: provided digest did not match uploaded content',
    'failed to commit: write /x: structure needs cleaning',
  ]) {
    const failed = { n: 4, name: '[2/3] COPY a /', error, lastLines: [] }
    const { failure_class, error: said } = explain('failing-run', { failed })
    assert.equal(failure_class, 'infra', error)
    assert.match(said, /^BuildKit's own state is broken: /)
  }
  const printed = ranOut(['cat: /x: Input/output error'], EXIT_1)
  assert.equal(explain('failing-run', printed).failure_class, 'build', 'a step may say anything')
})

test('a BuildKit that died is class infra', () => {
  const failure = explain('failing-run', {
    failed: undefined,
    error: 'error: rpc error: code = Unavailable desc = closing',
    buildkitdAlive: false,
  })
  assert.equal(failure.failure_class, 'infra')
})

test('a buildctl that was killed without a word is class infra', () => {
  const failure = explain('failing-run', { failed: undefined, error: '', exitCode: null })
  assert.deepEqual(failure, { failure_class: 'infra', error: 'buildctl was killed' })
})

test('an error of any length is told in a message the server takes', () => {
  const failed = {
    n: 4,
    name: '[3/3] COPY long',
    error: `"/${'x'.repeat(20_000)}": not found`,
    lastLines: [],
  }
  for (const error of ['error: failed to solve: x', 'error: failed to push', '']) {
    for (const buildkitdAlive of [true, false]) {
      assert.ok(explain('failing-run', { failed, error, buildkitdAlive }).error.length < 8_192)
    }
  }
})
