// What a commit does not hold itself, on real parts: submodules of an app and of a git server elsewhere, and a
// file kept by git-lfs, all seen by the build of one push.
import assert from 'node:assert/strict'
import { lookup } from 'node:dns/promises'
import { copyFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { skopeo } from '../helpers/apps.ts'
import { givenGitHost } from '../helpers/git-host.ts'
import { givenGitLfs } from '../helpers/git-lfs.ts'
import { givenRepo, remoteUrl } from '../helpers/repo.ts'
import { fastestRunner } from '../helpers/sandboxes.ts'
import { givenServer } from '../helpers/server.ts'

const DOCKERFILE = `FROM scratch
COPY busybox /bin/busybox
COPY . /src
RUN ["/bin/busybox", "cat", "/src/near/file", "/src/libs/far/file", "/src/model.bin"]
`

test('a build sees its submodules, hosted and fetched, and what git-lfs keeps', async (t) => {
  const name = hostname()
  const { address } = await lookup(name)
  const host = await givenGitHost(t, { names: [name], address })
  const far = await host.repository('far')
  await far.write('file', 'pinned far\n')
  const farCommit = await far.commit()
  await far.write('file', 'newest far\n')
  await far.commit()
  await far.publish()
  const server = await givenServer(t, {
    EGRESS_ALLOW_ADDRESSES: address,
    EGRESS_CA_FILE: host.certificate.certFile,
    RUNNER: await fastestRunner(),
  })
  const token = await server.token('ada')
  const near = await givenRepo(t)
  await near.write('file', 'pinned near\n')
  const nearCommit = await near.commit()
  await near.push(remoteUrl(server.url, token, '/near.git'), 'HEAD:refs/heads/dev')

  await givenGitLfs()
  const repo = await givenRepo(t)
  await repo.git('remote', 'add', 'hypeman', remoteUrl(server.url, token, '/web.git'))
  await repo.git('lfs', 'install', '--local')
  await repo.git('lfs', 'track', '*.bin')
  await repo.write('model.bin', 'kept by lfs\n')
  await repo.write('Dockerfile', DOCKERFILE)
  await copyFile('/bin/busybox', join(repo.dir, 'busybox'))
  const url = host.url('far.git')
  const section = (path: string, from: string) =>
    `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${from}\n`
  await repo.write('.gitmodules', section('near', '../near.git') + section('libs/far', url))
  await repo.git('add', '-A')
  for (const [path, commit] of [
    ['near', nearCommit],
    ['libs/far', farCommit],
  ]) {
    await repo.git('update-index', '--add', '--cacheinfo', `160000,${commit},${path}`)
  }
  await repo.git('commit', '--quiet', '-m', 'all of it')
  const { text, buildId } = await repo.push('hypeman', 'main')
  assert.match(text, /success: build/, text)
  for (const line of ['pinned near', 'pinned far', 'kept by lfs']) {
    assert.match(text, new RegExp(`^ *${line}$`, 'm'))
  }
  const build = await server.build(buildId!, token)
  assert.deepEqual(build.provenance?.submodules, [
    { path: 'libs/far', url, commit: farCommit },
    { path: 'near', url: `${server.url}/ada/near.git`, commit: nearCommit, app: 'near' },
  ])
  const creds = ['--tls-verify=false', '--creds', `ada:${token}`]
  const { Labels } = JSON.parse(await skopeo('inspect', ...creds, `docker://${build.image_ref}`))
  assert.deepEqual(
    JSON.parse(Labels['hypeman.submodules']).map(({ path }: { path: string }) => path),
    ['libs/far', 'near'],
  )

  // A commit that the remote does not have: the build fails, and says of which submodule.
  await repo.git('update-index', '--cacheinfo', `160000,${'d'.repeat(40)},libs/far`)
  await repo.git('commit', '--quiet', '-m', 'lost')
  const lost = await repo.push('hypeman', 'main')
  const failed = await server.build(lost.buildId!, token)
  assert.equal(failed.failure_class, 'source', lost.text)
  assert.match(failed.error ?? '', /^submodule libs\/far: .*far\.git/)
})
