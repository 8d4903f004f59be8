// The main job with RUNNER=bubblewrap: the same as in a VM, and everywhere it says that it is not one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { leftovers, podPids } from '../helpers/leftovers.ts'
import { testSandboxes } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

await testSandboxes(() => {
  test('a push is built in a sandbox, and log and server say that its boundary is weaker', async (t) => {
    const server = await givenServer(t, { RUNNER: 'bubblewrap' })
    const warning = server
      .logged()
      .split('\n')
      .find((line) => line.includes('a weaker boundary than a VM'))
    assert.equal(JSON.parse(warning ?? '{}').runner, 'bubblewrap', server.logged())

    const token = await server.token('ada')
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = await repo.push('hypeman', 'main')
    assert.equal(push.exitCode, 0, push.text)
    assert.match(
      push.text,
      /Builder sandbox ready in \S+ s \(bubblewrap, shared kernel, a weaker boundary than a VM\)/,
    )
    const build = await server.build(push.buildId!, token)
    assert.equal(build.status, 'ready', push.text)
    t.diagnostic(`built in ${build.duration_ms} ms`)
    const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
    const inspected = await skopeo('inspect', ...creds, `docker://${build.image_ref}`)
    assert.equal(JSON.parse(inspected).Digest, build.image_digest)
    assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  })

  test('stages, arguments and a base image of this registry work in a sandbox', async (t) => {
    const server = await givenServer(t, { RUNNER: 'bubblewrap' })
    const operator = await server.token('root', { admin: true })
    const base = await givenBusyboxImage(t)
    const pushed = ['--dest-tls-verify=false', '--dest-creds', `root:${operator}`]
    await skopeo('copy', ...pushed, `oci:${base}`, imageName(server, 'library/busybox:test'))
    const token = await server.token('ada')
    await givenSettings(server, token, 'staged', { build_args: { GREETING: 'hi, a=b, "c"' } })
    const staged = await givenApp(t, server, token, 'staged', 'multi-stage')
    const push = await staged.push('hypeman', 'main')
    const build = await server.build(push.buildId!, token)
    assert.equal(build.status, 'ready', push.text)
    assert.equal(build.provenance?.base_images?.length, 1)
  })

  test('weakness 14: a server killed while a sandbox builds builds it again once, and nothing of the dead run remains', async (t) => {
    const server = await givenServer(t, { RUNNER: 'bubblewrap' })
    const token = await server.token('ada')
    const repo = await givenApp(t, server, token, 'hello', 'hello')
    const push = repo.startPush('hypeman', 'main')
    await push.line(/counting 1/)
    assert.equal((await podPids(server.pid)).length, 1)
    await server.kill('SIGKILL')
    await push.done
    for (let i = 0; i < 100 && (await leftovers(server.dataDir)).processes.length > 0; i += 1) {
      await sleep(100)
    }
    assert.deepEqual((await leftovers(server.dataDir)).processes, [])
    await server.restart()
    const builds = (await (await server.api('/builds?app=hello', token)).json()) as { id: string }[]
    assert.equal(builds.length, 1)
    const build = await server.ended(builds[0]!.id, token)
    assert.equal(build.status, 'ready', build.error)
    assert.equal(build.attempt, 2)
    assert.deepEqual((await leftovers(server.dataDir)).podFiles, [])
  })
})
