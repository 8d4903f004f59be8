// What a build can reach: through the egress proxy what its policy allows, over vsock nothing at all.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { findGo } from '../../server/setup/parts/go.ts'
import { givenApp, givenSettings, imageName, skopeo } from '../helpers/apps.ts'
import { givenBusyboxImage } from '../helpers/images.ts'
import { givenServer } from '../helpers/server.ts'

/** A web server that stands in for the internet, or for an inner network. */
async function givenWeb(
  t: TestContext,
  address: string,
): Promise<{ port: number; requests: string[] }> {
  const requests: string[] = []
  const server = createServer((req, res) => {
    requests.push(req.url ?? '')
    res.end('payload from outside\n')
  })
  server.listen(0, address)
  await once(server, 'listening')
  t.after(() => server.close())
  return { port: (server.address() as AddressInfo).port, requests }
}

async function givenDialers(t: TestContext): Promise<{ amd64: string; i386: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-dial-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const { cacheDir, assumeYes } = setupEnv()
  const go = await findGo(createCache(cacheDir), createApt({ assumeYes }))
  const cwd = fileURLToPath(new URL('../fixtures/vsock-dialer', import.meta.url))
  const build = async (arch: string) => {
    const file = join(dir, arch)
    const env = { ...go.env, GOOS: 'linux', GOARCH: arch, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' }
    await execa(go.path, ['build', '-trimpath', '-o', file, '.'], { cwd, env })
    return file
  }
  return { amd64: await build('amd64'), i386: await build('386') }
}

test('a base image and a download work in an egress build and fail in an isolated one, and vsock gives a RUN step nothing', async (t) => {
  // 127.0.0.2 is let through by configuration; 127.0.0.3 is private like any inner network.
  const internet = await givenWeb(t, '127.0.0.2')
  const inner = await givenWeb(t, '127.0.0.3')
  const server = await givenServer(t, { EGRESS_ALLOW_ADDRESSES: '127.0.0.2' })
  const operator = await server.token('root', { admin: true })
  const pushed = ['--dest-tls-verify=false', '--dest-creds', `root:${operator}`]
  const base = `oci:${await givenBusyboxImage(t)}`
  await skopeo('copy', ...pushed, base, imageName(server, 'library/busybox:test'))
  const token = await server.token('ada')
  const dialers = await givenDialers(t)
  const dockerfile = [
    'FROM localhost:5000/library/busybox:test',
    'COPY dial64 dial32 /',
    'RUN /dial64; /dial32',
    `RUN wget -q -T 20 -O /payload http://127.0.0.2:${internet.port}/payload && cat /payload`,
    `RUN ! wget -q -T 20 -O /inner http://127.0.0.3:${inner.port}/inner`,
    '',
  ].join('\n')

  const pushOf = async (name: string, mode: string) => {
    await givenSettings(server, token, name, { policy: { network_mode: mode } })
    const repo = await givenApp(t, server, token, name)
    await copyFile(dialers.amd64, join(repo.dir, 'dial64'))
    await copyFile(dialers.i386, join(repo.dir, 'dial32'))
    await repo.write('Dockerfile', dockerfile)
    await repo.commit()
    return repo.push('hypeman', 'main')
  }
  const [open, closed] = await Promise.all([pushOf('open', 'egress'), pushOf('closed', 'isolated')])

  await t.test('egress reaches what it may and nothing else', async () => {
    assert.equal((await server.build(open.buildId!, token)).status, 'ready', open.text)
    assert.match(open.text, /payload from outside/)
    assert.deepEqual(internet.requests, ['/payload'])
    assert.deepEqual(inner.requests, [])
  })

  await t.test('isolated reaches nothing', async () => {
    const build = await server.build(closed.buildId!, token)
    assert.equal(build.failure_class, 'build', closed.text)
    assert.doesNotMatch(closed.text, /payload from outside/)
  })

  await t.test('dialling the host over vsock, 64-bit and i386, gives nothing', () => {
    for (const { text } of [open, closed]) {
      assert.match(text, /dialled amd64 \d+ ports/)
      assert.match(text, /dialled 386 \d+ ports/)
      const answered = [...text.matchAll(/dial (\S+) (\d+): connected, answer "([^"]*)/g)]
      for (const [, , port, answer] of answered) {
        if (port === '5000') assert.match(answer ?? '', /^HTTP\/1\.1 401/)
        else assert.equal(port, text === open.text ? '3128' : 'none', 'an unexpected port answers')
      }
    }
  })
})
