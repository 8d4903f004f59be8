// What is said when the disk of a build is full, wherever it was met.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explainFailure, type FailureFacts } from '../../../agent/failure.ts'
import { fullBuildDisk, fullSourceDisk } from '../../../agent/full-disk.ts'

const NO_SPACE = 'no space left on device'
const CONFIG = {
  registry_url: 'localhost:5000',
  registry_public_name: 'registry.example',
  network_mode: 'isolated' as const,
}

function explained(name: string, error: string, lastLines: string[], config = {}) {
  const failed = { n: 3, name, error, lastLines } as unknown as FailureFacts['failed']
  return explainFailure({
    config: { ...CONFIG, ...config },
    exitCode: 1,
    error: `error: failed to solve: ${error}`,
    failed,
    oomKills: 0,
    buildkitdAlive: true,
  })
}

test('a RUN, a COPY, an export and a push that fill the disk are all class disk', () => {
  const run = 'process "/bin/sh -c dd of=/x" did not complete successfully: exit code: 1'
  const found = [
    explained('[2/3] RUN dd of=/x', run, [`dd: writing '/x': ${NO_SPACE}`]),
    explained('[3/3] COPY . /app', `failed to copy files: copy_file_range: ${NO_SPACE}`, []),
    explained('exporting to image', `failed to write compressed diff: write: ${NO_SPACE}`, []),
    explained('exporting to image', `failed to push localhost:5000/builds/x: ${NO_SPACE}`, []),
    explained('[1/3] FROM node', `failed to extract layer: write /usr/bin/node: ${NO_SPACE}`, []),
  ]
  assert.deepEqual(
    found.map(({ failure_class: failureClass }) => failureClass),
    Array(5).fill('disk'),
  )
})

test('it says how big the disk was and which limit to raise', () => {
  const builder = { max_used_mb: 1000, keep_hours: 168, save: true }
  const size = String.raw`the build's disk of \d+\.\d GiB is full; `
  assert.match(fullBuildDisk({}, '/'), new RegExp(`^${size}its operator may raise BUILD_DISK_GB$`))
  assert.match(
    fullBuildDisk({ cache_disk: builder }, '/'),
    new RegExp(`^${size}raise disk_size_gb of its builder$`),
  )
  assert.match(fullSourceDisk('/'), new RegExp(`^${size}`))
  const { error } = explained('[3/3] COPY . /app', NO_SPACE, [], { cache_disk: builder })
  assert.match(error, /^step 3 \(\[3\/3\] COPY .*the build's disk.* is full; raise disk_size_gb/)
})

test('a registry whose disk is full is class registry, whatever it says', () => {
  const replies = [
    `unexpected status from PATCH request to http://localhost:5000/v2/x: 500 Internal Server Error: ${NO_SPACE}`,
    `unexpected status from PUT request to http://localhost:5000/v2/x: 507 Insufficient Storage: ${NO_SPACE}`,
  ]
  for (const reply of replies) {
    const error = `failed to push localhost:5000/builds/x: ${reply}`
    assert.equal(explained('exporting to image', error, []).failure_class, 'registry')
  }
})
