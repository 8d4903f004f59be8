// Git LFS and the gate: the objects are there before the build, and stay when the push is refused.
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { givenGatedServer } from '../helpers/gate.ts'
import { CONTENT, givenLfsClient, OID, trackModel } from '../helpers/git-lfs.ts'
import { givenGitServer } from '../helpers/git-server.ts'
import { sourceFiles } from '../helpers/sources.ts'
import { until } from '../helpers/until.ts'

const FAILURE = { failure_class: 'build', error: 'step 5 ([4/7] RUN make) failed with exit code 1' }

test('a gated push brings its git-lfs objects before its branch moves; refused, it may come again', async (t) => {
  const { server, repo, tip, build } = await givenGatedServer(t)
  await trackModel(repo)
  const first = repo.startPush('hypeman', 'main')
  const failed = await server.untilBuild()
  assert.equal(await tip(), undefined)
  assert.equal((await sourceFiles(server.root, failed))['model.bin'], CONTENT)
  await server.end(failed.id, 'failed', FAILURE)
  const refused = await first.done
  assert.equal(refused.exitCode, 1)
  assert.match(refused.text, /! \[remote rejected\] main -> main \(build .* failed: step 4\/7/)
  assert.equal(await tip(), undefined)
  assert.deepEqual((await server.db('lfs_objects')).length, 1)

  const again = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.pass(id)
  const { exitCode, text } = await again.done
  assert.equal(exitCode, 0, text)
  assert.doesNotMatch(text, /Uploading LFS objects: +\d+% \(0\//)
  const built = await build(id)
  assert.equal(built.status, 'ready')
  assert.equal((await sourceFiles(server.root, built))['model.bin'], CONTENT)
  assert.equal(await tip(), await repo.git('rev-parse', 'HEAD'))
})

test('the first push of an app may be gated and have git-lfs objects', {
  timeout: 120_000,
}, async (t) => {
  const server = await givenGitServer(t)
  const repo = await givenLfsClient(t, server, 'fresh')
  const push = repo.startPush('-o', 'gate', 'hypeman', 'main')
  const build = await server.untilBuild()
  assert.equal(build.gate, 'closed')
  assert.equal((await sourceFiles(server.root, build))['model.bin'], CONTENT)
  const { id } = await server.app('fresh')
  assert.deepEqual(await server.db('lfs_objects').pluck('app_id'), [id])
  await server.pass(build.id)
  await until('the gate to be open', async () => (await server.builds())[0]?.gate === 'open')
  await server.end(build.id, 'ready')
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, text)
})

test('a gated push without its git-lfs objects is rejected with the path, and goes well when they are sent', async (t) => {
  const { server, repo, tip } = await givenGatedServer(t)
  await trackModel(repo)
  await rm(join(repo.dir, '.git/hooks/pre-push'))
  const refused = await repo.push('hypeman', 'main')
  assert.equal(refused.exitCode, 1)
  const said = `model\\.bin is kept by git-lfs, and its object ${OID} is not here`
  assert.match(refused.text, new RegExp(`error: ${said}`))
  assert.match(refused.text, new RegExp(`! \\[remote rejected\\] main -> main \\(${said}\\)`))
  assert.match(refused.text, /hint: git lfs push --all hypeman, then try again/)
  assert.deepEqual([await tip(), await server.builds()], [undefined, []])

  await repo.git('lfs', 'push', '--all', 'hypeman')
  const push = repo.startPush('hypeman', 'main')
  const build = await server.untilBuild()
  assert.equal((await sourceFiles(server.root, build))['model.bin'], CONTENT)
  await server.pass(build.id)
  assert.equal((await push.done).exitCode, 0)
})
