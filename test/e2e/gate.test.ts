// The gate on real parts: what fails moves nothing, what passes is an image, and no death of the server in
// between leaves a build ready without its branch.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

test('a gated push that fails is rejected with its step, and the mended one is an image', async (t) => {
  const server = await givenServer(t, { RUNNER: await fastestRunner() })
  const token = await server.token('ada')
  await givenSettings(server, token, 'hello', { gate: true })
  const repo = await givenApp(t, server, token, 'hello', 'broken')
  const rejected = await repo.push('hypeman', 'main')
  assert.equal(rejected.exitCode, 1)
  t.diagnostic(rejected.text)
  const why = `build ${rejected.buildId} failed: step 3/3 exited 42`
  assert.ok(rejected.text.includes(`! [remote rejected] main -> main (${why})`), rejected.text)
  assert.equal(await repo.git('ls-remote', 'hypeman'), '')

  await repo.write('Dockerfile', 'FROM scratch\nCOPY busybox /bin/busybox\n')
  const head = await repo.commit('mended')
  const push = await repo.push('hypeman', 'main')
  assert.equal(push.exitCode, 0, push.text)
  t.diagnostic(push.text)
  const build = await server.build(push.buildId!, token)
  assert.equal(build.status, 'ready')
  const refs = await repo.git('ls-remote', 'hypeman')
  assert.match(refs, new RegExp(`${head}\\trefs/heads/main`))
  assert.match(refs, new RegExp(`refs/tags/builds/${build.id}\\n`))
  assert.ok(!refs.includes(rejected.buildId!), refs)
  const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
  const image = imageName(server, `builds/${build.id}`)
  assert.equal(JSON.parse(await skopeo('inspect', ...creds, image)).Digest, build.image_digest)
})

for (const [signal, said] of [
  ['SIGKILL', /the build server went away|unexpected disconnect|early EOF|hung up/],
  ['SIGTERM', /main -> main \(the build server stops; push again when it is back\)/],
] as const) {
  test(`a server that gets ${signal} in a gated build: the push fails, its branch stays, its build ends`, async (t) => {
    const server = await givenServer(t, { RUNNER: await fastestRunner() })
    const token = await server.token('ada')
    const repo = await givenApp(t, server, token, 'slow', 'slow')
    const push = repo.startPush('-o', 'gate', 'hypeman', 'main')
    await push.line(/Builder (VM|sandbox) ready/)
    await server.kill(signal)
    const { exitCode, text, buildId } = await push.done
    assert.notEqual(exitCode, 0)
    assert.match(text, said)

    await server.restart()
    await repo.git('remote', 'set-url', 'hypeman', remoteOf(server.url, token))
    assert.equal(await repo.git('ls-remote', 'hypeman'), '')
    const build = await server.ended(buildId!, token)
    assert.equal(build.status, 'cancelled', build.error)
  })
}

function remoteOf(url: string, token: string): string {
  return url.replace('//', `//git:${token}@`).concat('/slow.git')
}
