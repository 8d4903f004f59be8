// The connection of a push: proxies that cut silence, readers that stop, clients that close half of it, too
// many at once. The build is untouched, and nothing stays behind.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { pushBody } from '../helpers/git-wire.ts'
import type { Repo } from '../helpers/repo.ts'
import { until } from '../helpers/until.ts'

/** git's keepalive comes every 5 s; proxies cut after 60 s as a rule. */
const PROXY_IDLE_MS = 9_000
const SILENCE_MS = 13_000

/** A TCP proxy that cuts what is silent in both directions for too long; returns its port. */
async function givenProxy(t: TestContext, target: number): Promise<number> {
  const open = new Set<Socket>()
  const proxy = createServer((client) => {
    const server = connect(target, '127.0.0.1')
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      open.add(from)
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
    const cut = () => client.destroy()
    let timer = setTimeout(cut, PROXY_IDLE_MS)
    const active = () => {
      clearTimeout(timer)
      timer = setTimeout(cut, PROXY_IDLE_MS)
    }
    client.on('data', active).on('close', () => clearTimeout(timer))
    server.on('data', active)
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.after(() => {
    for (const socket of open) socket.destroy()
    proxy.close()
  })
  return (proxy.address() as { port: number }).port
}

/** A push as bytes on a socket of its own. */
async function rawPush(server: GitServer, repo: Repo, token: string): Promise<Socket> {
  const { commands, pack } = await pushBody(repo)
  const body = Buffer.concat([commands, pack])
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    `POST /web.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-length: ${body.length}\r\n\r\n`,
  )
  socket.write(body)
  return socket
}

async function givenWeb(t: TestContext, options = {}) {
  const server = await givenGitServer(t, options)
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/tags/first')
  return { server, repo }
}

for (const how of ['queued', 'in a silent step', 'behind the gate'] as const) {
  test(`a proxy that cuts silent connections does not cut a push that is ${how}`, async (t) => {
    const { server, repo } = await givenWeb(t)
    const port = await givenProxy(t, Number(new URL(server.url).port))
    const url = new URL(await repo.git('remote', 'get-url', 'hypeman'))
    url.port = String(port)
    const push = repo.startPush(
      url.href,
      ...(how === 'behind the gate' ? ['-o', 'gate'] : []),
      'main',
    )
    const { id } = await server.untilBuild()
    if (how === 'in a silent step') await server.move(id, 'queued', 'building')
    await sleep(SILENCE_MS)
    if (how === 'behind the gate') {
      await server.end(id, 'failed', { failure_class: 'build', error: 'it failed' })
      assert.match((await push.done).text, /\[remote rejected\] main -> main \(build .* failed/)
      return
    }
    await server.end(id, 'ready')
    const { exitCode, text } = await push.done
    assert.equal(exitCode, 0, text)
    assert.match(text, /success: build/)
  })
}

test('a reader that takes nothing is cut off after a while, and its build goes on', async (t) => {
  const { server, repo } = await givenWeb(t, { stallMaxMs: 800 })
  const socket = await rawPush(server, repo, await server.token())
  socket.pause()
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const line = 'x'.repeat(900)
  for (let i = 0; i < 40; i += 1) {
    await server.say(id, ...Array.from({ length: 500 }, () => ({ type: 'log', line }) as const))
  }
  await until('git and its hook have ended', () => server.live.count === 0)
  assert.equal((await server.builds())[0]?.status, 'building')
  await server.end(id, 'ready')
  socket.destroy()
})

test('a client that closes its half of the connection has left: its build goes on, and nothing hangs', async (t) => {
  const { server, repo } = await givenWeb(t)
  const socket = await rawPush(server, repo, await server.token())
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const closed = once(socket.resume(), 'close')
  socket.end()
  await closed
  await until('git and its hook have ended', () => server.live.count === 0)
  assert.equal((await server.builds())[0]?.status, 'building')
  await server.end(id, 'ready')
})

test('pushes over the limit of a token or a tenant are refused with text, and others are not', async (t) => {
  const { server, repo } = await givenWeb(t, { pushLimits: { perToken: 1, perTenant: 2 } })
  const first = repo.startPush('hypeman', 'main')
  await first.line(/Build [a-z0-9]+ queued/)
  await repo.commit('second')
  const refused = await repo.push('hypeman', 'main')
  assert.notEqual(refused.exitCode, 0)
  assert.match(refused.text, /error: 1 pushes with this token are under way; no more are taken/)
  assert.match(refused.text, /hint: push again when one has ended/)
  const colleague = await server.givenClient(t, 'api')
  const second = colleague.startPush('hypeman', 'main')
  await second.line(/Build [a-z0-9]+ queued/)
  const third = await server.givenClient(t, 'third')
  assert.match((await third.push('hypeman', 'main')).text, /error: 2 pushes of acme are under way/)
  const stranger = await server.givenClient(t, 'theirs', { sub: 'eve', tenant: 'other' })
  assert.equal((await stranger.push('-o', 'detach', 'hypeman', 'main')).exitCode, 0)
  first.interrupt()
  second.interrupt()
  await Promise.all([first.done, second.done])
  await until('both have ended', () => server.live.count === 0)
  const { exitCode, text } = await repo.push('-o', 'detach', 'hypeman', 'main')
  assert.equal(exitCode, 0, text)
})

test('a push that has passed info/refs meets the limit in its own report', async (t) => {
  const { server, repo } = await givenWeb(t, { pushLimits: { perToken: 1, perTenant: 9 } })
  const token = await server.token()
  const first = await rawPush(server, repo, token)
  await server.untilBuild()
  const second = await rawPush(server, repo, token)
  let answer = ''
  second.setEncoding('latin1').on('data', (text: string) => {
    answer += text
  })
  await until('it is answered', () => answer.includes('ng refs/heads/main'))
  assert.match(answer, /error: 1 pushes with this token are under way/)
  assert.match(answer, /ng refs\/heads\/main too many pushes at once/)
  first.destroy()
  second.destroy()
})

test('headers over the limit are refused, and the server goes on', async (t) => {
  const server = await givenGitServer(t)
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    `GET /web.git/info/refs HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(100_000)}\r\n\r\n`,
  )
  const [reply] = (await once(socket.setEncoding('latin1'), 'data')) as [string]
  assert.match(reply, /^HTTP\/1\.1 431 /)
  socket.destroy()
  assert.equal((await fetch(`${server.url}/nothing`)).status, 404)
})
