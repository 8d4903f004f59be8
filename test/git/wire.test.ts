// The defects of node-git-server 1.0.0, each kept from it by the adapter: a test per symptom.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { FLUSH, pkt, ZERO_OID } from '../../server/git/pkt-line.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { post, pushBody } from '../helpers/git-wire.ts'
import { until } from '../helpers/until.ts'

async function givenTarget(server: GitServer) {
  const token = await server.token()
  await server.apps.createForPush(
    { user: 'ada', tenant: 'acme', admin: false, permissions: undefined, jti: 'x' },
    { name: 'web' },
  )
  return { token, url: `${server.url}/web.git/git-receive-pack` }
}

async function tipOf(server: GitServer, ref = 'refs/heads/main') {
  return server.repositories.tip((await server.app('web')).id, ref)
}

test('a POST without credentials, or with a wrong token, changes nothing', async (t) => {
  const server = await givenGitServer(t)
  const { url } = await givenTarget(server)
  const repo = await server.givenClient(t, 'web')
  const { commands, pack } = await pushBody(repo)
  for (const token of [null, 'not-a-token']) {
    const { req, reply } = post(url, token)
    req.end(Buffer.concat([commands, pack]))
    assert.equal((await reply).status, 401)
  }
  assert.equal(await tipOf(server), undefined)
})

test('a client that leaves inside the commands or inside the pack does not hurt the server', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const { token, url } = await givenTarget(server)
  const repo = await server.givenClient(t, 'web')
  const { commands, pack } = await pushBody(repo)
  const whole = Buffer.concat([commands, pack])
  for (const bytes of [0, 2, 40, commands.length - 1, commands.length, commands.length + 20]) {
    const { req } = post(url, token, { 'content-length': String(whole.length) })
    req.on('error', () => {})
    req.write(whole.subarray(0, bytes))
    req.flushHeaders()
    await sleep(60)
    req.destroy()
  }
  await until('no git process is left', () => server.live.count === 0)
  assert.equal(await tipOf(server), undefined)
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 0, text)
})

test('a push in chunks of one byte is a push like any other', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const { token, url } = await givenTarget(server)
  const repo = await server.givenClient(t, 'web')
  const { commands, pack } = await pushBody(repo)
  const { req, reply } = post(url, token)
  req.setNoDelay(true)
  for (const byte of commands) {
    req.write(Buffer.from([byte]))
    await new Promise(setImmediate)
  }
  req.end(pack)
  const { status, text } = await reply
  assert.equal(status, 200)
  assert.match(text, /unpack ok/)
  assert.match(text, /ok refs\/heads\/main/)
  assert.equal(await tipOf(server), await repo.git('rev-parse', 'HEAD'))
})

test('gzip and x-gzip bodies are unzipped, and other encodings are refused with text', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const { token, url } = await givenTarget(server)
  const repo = await server.givenClient(t, 'web')
  for (const encoding of ['gzip', 'x-gzip']) {
    const { commands, pack } = await pushBody(repo, `refs/heads/${encoding}`)
    const { req, reply } = post(url, token, { 'content-encoding': encoding })
    req.end(gzipSync(Buffer.concat([commands, pack])))
    assert.match((await reply).text, /unpack ok/)
  }
  const { req, reply } = post(url, token, { 'content-encoding': 'br' })
  req.end('x')
  assert.deepEqual(await reply, {
    status: 400,
    text: 'error: content encoding br is not known; use gzip\n',
  })
})

test('a body that is not gzip although it says so does not hurt the server', async (t) => {
  const server = await givenGitServer(t)
  const { token, url } = await givenTarget(server)
  const { commands, pack } = await pushBody(await server.givenClient(t, 'web'))
  const unzippable = post(url, token, { 'content-encoding': 'gzip' })
  unzippable.req.end('not gzip at all')
  assert.deepEqual(await unzippable.reply, {
    status: 400,
    text: 'error: the body broke off: incorrect header check\n',
  })
  const zipped = gzipSync(Buffer.concat([commands, pack]))
  const cut = post(url, token, { 'content-encoding': 'gzip' })
  cut.req.end(zipped.subarray(0, zipped.length - 60))
  assert.match((await cut.reply).text, /unpack .*(?:eof|unpack-objects)/i)
  await until('no git process is left', () => server.live.count === 0)
  assert.equal((await fetch(`${server.url}/nothing`)).status, 404)
})

test('what is not a push is refused with its reason', async (t) => {
  const server = await givenGitServer(t)
  const { token, url } = await givenTarget(server)
  const cases: [string | Buffer, RegExp][] = [
    ['zzzz', /bad packet length "zzzz"/],
    ['0003', /bad packet length "0003"/],
    [Buffer.concat([pkt('hello'), FLUSH]), /begins with <old> <new> <ref>/],
    ['00', /ends before its first flush/],
    ['00ff', /ends inside a packet/],
  ]
  for (const [body, reason] of cases) {
    const { req, reply } = post(url, token)
    req.end(body)
    const { status, text } = await reply
    assert.equal(status, 400)
    assert.match(text, reason)
  }
})

test('a ref name that the library would wait for ever over is refused at once', async (t) => {
  const server = await givenGitServer(t)
  const { token, url } = await givenTarget(server)
  for (const ref of ['refs/heads/a\u2028b', `refs/heads/${'a'.repeat(600)}`]) {
    const { req, reply } = post(url, token)
    const command = `${ZERO_OID} ${'1'.repeat(40)} ${ref}\0 report-status side-band-64k`
    req.end(Buffer.concat([pkt(command), FLUSH]))
    const { status, text } = await reply
    assert.equal(status, 200)
    assert.match(text, /error: refs\/heads\/[^\n]*(cannot be shown|longer than 512 bytes)/)
    assert.match(text, /ng refs\/heads\/[^\n]* not hosted here/)
  }
})

test('a client that sends nothing is cut off, and git with it', async (t) => {
  const server = await givenGitServer(t, { idleMaxMs: 300 })
  const { token, url } = await givenTarget(server)
  const { commands } = await pushBody(await server.givenClient(t, 'web'))
  const { req } = post(url, token)
  const cut = new Promise((resolve) => req.once('close', resolve))
  req.on('error', () => {})
  req.write(commands)
  await until('git runs', () => server.live.count === 1)
  await cut
  await until('git has ended', () => server.live.count === 0)
})

test('a reader who stops reading and then leaves blocks neither git nor the build', async (t) => {
  const server = await givenGitServer(t)
  const { token, url } = await givenTarget(server)
  const repo = await server.givenClient(t, 'web')
  const { commands, pack } = await pushBody(repo)
  const { port } = new URL(url)
  const socket = connect(Number(port), '127.0.0.1')
  const body = Buffer.concat([commands, pack])
  socket.write(
    `POST /web.git/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-length: ${body.length}\r\n\r\n`,
  )
  socket.write(body)
  socket.pause()
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const line = 'x'.repeat(900)
  for (let i = 0; i < 40; i += 1) {
    await server.say(id, ...Array.from({ length: 500 }, () => ({ type: 'log', line }) as const))
  }
  await sleep(300)
  assert.equal(server.live.count, 1)
  socket.destroy()
  await until('git and its hook have ended', () => server.live.count === 0)
  assert.equal((await server.builds())[0]?.status, 'building')
  await server.end(id, 'ready')
})

test('Ctrl-C ends git and hook at once and leaves the build alone', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/Build [a-z0-9]+ queued/)
  push.interrupt()
  await push.done
  await until('git and its hook have ended', () => server.live.count === 0)
  const [build] = await server.builds()
  assert.equal(build?.status, 'queued')
  assert.equal(await tipOf(server), await repo.git('rev-parse', 'HEAD'))
  assert.equal(await server.reconciler.reconcile(), 0)
})

test('a fetch whose client leaves ends its git process', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const head = await repo.git('rev-parse', 'HEAD')
  const repoPath = server.repositories.path((await server.app('web')).id)
  // As busy as git with a pack that takes hours: it only ends when it is told to.
  const launcher = join(server.git.launcherDir, 'git-upload-pack')
  await writeFile(launcher, '#!/bin/sh\nexec yes -- "$@"\n')
  const { req, response } = post(`${server.url}/web.git/git-upload-pack`, await server.token())
  req.on('error', () => {})
  req.end(Buffer.concat([pkt(`want ${head} side-band-64k\n`), FLUSH, pkt('done\n')]))
  const res = await response
  res.on('error', () => {})
  await once(res, 'readable')
  assert.ok((await processesOn(repoPath)).length > 0)
  req.destroy()
  await until('no process works on the repository', async () => {
    return (await processesOn(repoPath)).length === 0
  })
})

test('lines keep their characters, and nothing that steers a terminal gets through', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const long = 'ä'.repeat(5_000)
  for (const line of [
    'Grüße, 世界 🚀',
    '\u001b[31mred\u001b[0m \u001b]0;title\u0007and \u001b[2Kplain',
    'bell\u0007 back\b null\u0000 c1\u009b31m end',
    '10%\r50%\r100%\r',
    'first\nerror: forged',
    long,
  ]) {
    await server.say(id, { type: 'log', line })
  }
  await server.end(id, 'ready')
  const { text } = await push.done
  for (const line of [
    'Grüße, 世界 🚀',
    'red and plain',
    'bell back null c1 end',
    '100%',
    'first error: forged',
  ]) {
    assert.ok(text.includes(`\n       ${line}\n`), `${line} in\n${text}`)
  }
  assert.match(text, /\n {7}ä{1000} … \[4000 more characters/)
})

test('git and its hooks run without privileges and know no secret', async (t) => {
  process.env.SECRET_OF_THE_SERVER = 'hush'
  t.after(() => delete process.env.SECRET_OF_THE_SERVER)
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/queued/)
  const repoPath = server.repositories.path((await server.app('web')).id)
  const pids = await processesOn(repoPath)
  assert.ok(pids.length >= 2, 'receive-pack and its hook')
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8')
    assert.ok(!environment.includes('SECRET_OF_THE_SERVER'))
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    assert.match(status, /NoNewPrivs:\t1/)
    if (server.user) assert.match(status, new RegExp(`Uid:\t${server.user.uid}\t`))
  }
  push.interrupt()
  await push.done
})

test('a repository over which git complains at length still answers', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main')
  const path = server.repositories.path((await server.app('web')).id)
  // More than the 64 KiB that fit into a pipe nobody reads.
  const lost = Array.from({ length: 1_500 }, (_, i) => `/nonexistent/somewhere/${i}\n`)
  await writeFile(join(path, 'objects/info/alternates'), lost.join(''))
  for (const service of ['git-upload-pack', 'git-receive-pack']) {
    const reply = await fetch(`${server.url}/web.git/info/refs?service=${service}`, {
      headers: { authorization: `Bearer ${await server.token()}` },
      signal: AbortSignal.timeout(60_000),
    })
    assert.match(await reply.text(), /refs\/heads\/main.*0000$/s)
  }
  await repo.commit()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 0, text)
})

/** Git processes and hooks that have a repository as their folder or name it. */
async function processesOn(repoPath: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (folder === repoPath || command.includes(repoPath)) found.push(pid)
  }
  return found
}
