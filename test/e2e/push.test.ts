// The main job on real parts: git, PostgreSQL, QEMU, BuildKit, registry.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { execa } from 'execa'
import { followEvents, givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { givenBusyboxImage, runImage } from '../helpers/images.ts'
import { givenServer } from '../helpers/server.ts'

test('a push becomes a tagged image, and its output arrives while it is made', async (t) => {
  const server = await givenServer(t)
  const token = await server.token('ada')
  const repo = await givenApp(t, server, token, 'hello', 'hello')
  const head = await repo.git('rev-parse', 'HEAD')

  const push = await repo.push('hypeman', 'main')
  assert.equal(push.exitCode, 0, push.text)
  const counted = push.lines.filter(({ text }) => /^ +counting \d$/.test(text))
  assert.equal(counted.length, 3, push.text)
  // The step sleeps between its lines: had they come in one burst, they would have come together.
  assert.ok(counted[2]!.atMs - counted[0]!.atMs > 700, JSON.stringify(counted))
  assert.match(push.text, /success: build [a-z0-9]+ ready in /)

  const id = push.buildId!
  const build = await server.build(id, token)
  assert.equal(build.status, 'ready')
  assert.equal(build.commit, head)
  assert.equal(build.ref, 'refs/heads/main')
  assert.equal(build.pusher, 'ada')
  assert.equal(build.attempt, 1)
  assert.equal(build.image_ref, `${new URL(server.url).host}/builds/${id}`)

  await t.test('the digest is what the registry serves', async () => {
    const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
    const inspected = await skopeo('inspect', ...creds, `docker://${build.image_ref}`)
    assert.equal(JSON.parse(inspected).Digest, build.image_digest)
    assert.equal(JSON.parse(inspected).Labels['org.opencontainers.image.revision'], head)
  })

  await t.test('the commit is tagged with image and digest', async () => {
    await repo.git('fetch', '--quiet', 'hypeman', 'refs/tags/builds/*:refs/tags/builds/*')
    assert.equal(await repo.git('rev-parse', `builds/${id}^{commit}`), head)
    assert.equal(await repo.git('cat-file', '-t', `builds/${id}`), 'tag')
    const message = await repo.git('cat-file', 'tag', `builds/${id}`)
    assert.ok(message.includes(build.image_digest!), message)
    assert.ok(message.includes(build.image_ref!), message)
  })

  await t.test('the provenance names the source and what it was built with', async () => {
    const archive = await execa('git', ['archive', '--format=tar', head], {
      cwd: repo.dir,
      encoding: 'buffer',
    })
    const hash = createHash('sha256').update(archive.stdout).digest('hex')
    assert.equal(build.provenance?.source_hash, `sha256:${hash}`)
    assert.equal(build.provenance?.buildkit_version, 'v0.33.1')
    const lockfile = await execa('sha256sum', ['package-lock.json'], { cwd: repo.dir })
    assert.equal(
      build.provenance?.lockfile_hashes?.['package-lock.json'],
      `sha256:${lockfile.stdout.split(' ')[0]}`,
    )
  })

  await t.test('the program in the image runs', async (t) => {
    const auth = ['--src-creds', `ada:${token}`]
    const said = await runImage(t, imageName(server, `builds/${id}`), auth)
    assert.equal(said, 'hello from a pushed image')
  })

  await t.test('the events by SSE are complete and in order', async () => {
    const events = await followEvents(server, id, token)
    const statuses = events.filter(({ type }) => type === 'status').map(({ status }) => status)
    assert.deepEqual(statuses, ['queued', 'building', 'pushing', 'ready'])
    assert.equal(events.at(-1)?.status, 'ready')
    const logged = events.filter(({ type }) => type === 'log').map(({ content }) => content)
    assert.ok(logged.includes('counting 3'))
  })

  await t.test('somebody of another tenant sees and pulls nothing', async () => {
    const stranger = await server.token('eve')
    assert.equal((await server.api(`/builds/${id}`, stranger)).status, 404)
    assert.deepEqual(await (await server.api('/builds', stranger)).json(), [])
    const creds = ['--tls-verify=false', '--creds', `eve:${stranger}`]
    await assert.rejects(skopeo('inspect', ...creds, `docker://${build.image_ref}`))
  })
})

test('two pushes build at once, a third is told its position, and each gets its own end', async (t) => {
  const server = await givenServer(t)
  const operator = await server.token('root', { admin: true })
  const base = await givenBusyboxImage(t)
  const pushed = ['--dest-tls-verify=false', '--dest-creds', `root:${operator}`]
  const baseName = imageName(server, 'library/busybox:test')
  await skopeo('copy', ...pushed, `oci:${base}`, baseName)
  const token = await server.token('ada')
  await givenSettings(server, token, 'staged', { build_args: { GREETING: 'hi, a=b, "c"' } })
  const staged = await givenApp(t, server, token, 'staged', 'multi-stage')
  const broken = await givenApp(t, server, token, 'broken', 'broken')
  const third = await givenApp(t, server, token, 'third', 'hello')

  const first = staged.startPush('hypeman', 'main')
  const second = broken.startPush('hypeman', 'main')
  await Promise.all([first.line(/Starting the builder/), second.line(/Starting the builder/)])
  const waiting = third.startPush('hypeman', 'main')
  const position = await waiting.line(/queued, position \d/)
  assert.match(position.text, /position 1/)
  const running = await server.sql<{ count: number }>(
    `select count(*)::int as count from builds where status in ('building', 'pushing')`,
  )
  assert.equal(running[0]?.count, 2)

  const [good, bad, last] = await Promise.all([first.done, second.done, waiting.done])

  await t.test('a multi-stage build on a base image of this registry', async (t) => {
    const build = await server.build(good.buildId!, token)
    assert.equal(build.status, 'ready', good.text)
    const inspected = await skopeo(
      'inspect',
      '--tls-verify=false',
      '--creds',
      `root:${operator}`,
      baseName,
    )
    const { Digest: digest } = JSON.parse(inspected)
    assert.deepEqual(
      build.provenance?.base_images?.map((image) => image.digest),
      [digest],
    )
    assert.equal(build.provenance?.base_image_digest, digest)
    const auth = ['--src-creds', `ada:${token}`]
    const said = await runImage(t, imageName(server, `builds/${build.id}`), auth)
    assert.equal(said, 'hi, a=b, "c"')
    assert.doesNotMatch(good.text, /evil/, 'the # syntax= line must not be followed')
  })

  await t.test('a failing RUN is the user’s failure, named with step and exit code', async () => {
    const build = await server.build(bad.buildId!, token)
    assert.equal(build.status, 'failed')
    assert.equal(build.failure_class, 'build')
    assert.match(build.error ?? '', /exit.* 42/)
    assert.match(bad.text, /about to fail/)
    assert.match(bad.text, /error: build [a-z0-9]+ failed: .*\[3\/3\].*42.*\(class build\)/)
    assert.equal(bad.exitCode, 0, 'after post-receive the branch has moved')
    const tags = await broken.git('ls-remote', 'hypeman', 'refs/tags/*')
    assert.equal(tags, '')
    const reference = imageName(server, `builds/${build.id}`)
    await assert.rejects(
      skopeo('inspect', '--tls-verify=false', '--creds', `ada:${token}`, reference),
    )
  })

  await t.test('the third had its turn', async () => {
    assert.equal((await server.build(last.buildId!, token)).status, 'ready', last.text)
  })

  await t.test('a missing Dockerfile is said at once, and nothing is queued', async (t) => {
    const empty = await givenApp(t, server, token, 'empty')
    await empty.write('README', 'nothing to build\n')
    await empty.commit()
    const result = await empty.push('hypeman', 'main')
    assert.match(
      result.text,
      /dockerfile required: provide dockerfile parameter or include Dockerfile in source tarball/,
    )
    assert.equal(result.buildId, undefined)
    const found = await (await server.api('/builds?app=empty', token)).json()
    assert.deepEqual(found, [])
  })
})
