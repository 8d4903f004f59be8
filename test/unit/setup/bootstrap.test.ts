import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// Plain JavaScript, because it runs before there is anything that understands types.
const path = (name: string) =>
  fileURLToPath(new URL(`../../../server/setup/bootstrap/${name}`, import.meta.url))
const { machineProblem } = await import(path('requirements.mjs'))
const { isInstalled } = await import(path('node-modules.mjs'))
const { groupFiles } = await import(path('test-run.mjs'))

const machine = { version: 'v20.19.0', execPath: '/bin/node', platform: 'linux', arch: 'x64' }

test('an old Node or another machine is named, with what to do', () => {
  assert.equal(machineProblem(machine), undefined)
  assert.equal(machineProblem({ ...machine, version: 'v24.1.0' }), undefined)
  assert.match(machineProblem({ ...machine, version: 'v20.18.3' }), /Node 20\.19 .*v20\.18\.3/)
  assert.match(machineProblem({ ...machine, version: 'v18.20.4' }), /Node 20\.19/)
  assert.match(machineProblem({ ...machine, platform: 'darwin' }), /Linux.*darwin/)
})

test('node modules are installed again when a package is missing or has another version', () => {
  const wanted = {
    '': { name: 'root' },
    'node_modules/a': { version: '1.0.0', integrity: 'x' },
    'node_modules/b-win32': { version: '1.0.0', optional: true },
  }
  const a = { version: '1.0.0', integrity: 'x' }
  assert.equal(isInstalled(wanted, { 'node_modules/a': a }), true)
  assert.equal(isInstalled(wanted, {}), false)
  assert.equal(isInstalled(wanted, { 'node_modules/a': { ...a, version: '1.0.1' } }), false)
  assert.equal(isInstalled(wanted, { 'node_modules/a': { ...a, integrity: 'y' } }), false)
})

test('end-to-end files run one at a time after the others, and words choose files', () => {
  const files = ['test/e2e/push.test.ts', 'test/unit/a.test.ts', 'test/unit/b.test.ts']
  assert.deepEqual(groupFiles(files, []), [
    { files: ['test/unit/a.test.ts', 'test/unit/b.test.ts'], concurrency: 2 },
    { files: ['test/e2e/push.test.ts'], concurrency: 1 },
  ])
  assert.deepEqual(groupFiles(files, ['push', 'b.test']), [
    { files: ['test/unit/b.test.ts'], concurrency: 2 },
    { files: ['test/e2e/push.test.ts'], concurrency: 1 },
  ])
  assert.deepEqual(groupFiles(files, ['nothing']), [])
})

test('the counts of a run are those of its tests, failures included', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hm-counts-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'sample.test.mjs')
  const tests = [
    "test('a', () => {})",
    "test('b', () => { throw new Error('no') })",
    "test.todo('c')",
  ]
  await writeFile(file, ["import { test } from 'node:test'", ...tests].join('\n'))
  const counts = join(folder, 'counts.json')
  const reporter = [`--test-reporter=${path('test-counts.mjs')}`]
  // Without this, node takes itself for a test of the run that we are part of.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined }
  const args = ['--test', ...reporter, `--test-reporter-destination=${counts}`, file]
  assert.equal(spawnSync(process.execPath, args, { env }).status, 1)
  const { tests: all, pass, fail, todo } = JSON.parse(await readFile(counts, 'utf8'))
  assert.deepEqual({ all, pass, fail, todo }, { all: 3, pass: 1, fail: 1, todo: 1 })
})
