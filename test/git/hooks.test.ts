// The way from git's hooks to the server: who is believed, what happens when one side goes away, what a
// person sees of queue and silence.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { FLUSH, pkt, ZERO_OID } from '../../server/git/pkt-line.ts'
import { givenBuild } from '../helpers/builds.ts'
import { type GitServer, givenGitServer } from '../helpers/git-server.ts'
import { post, pushBody } from '../helpers/git-wire.ts'

const CLIENT = fileURLToPath(new URL('../../hooks/client.cjs', import.meta.url))

interface Claim {
  hook: string
  pid: number
  ppid: number
  repo: string
}

/** Says a claim on the hook socket; returns the answer. */
async function say(server: GitServer, claim: Claim | string): Promise<string> {
  const socket = connect(server.hookSocketPath)
  const refs = [{ oldSha: ZERO_OID, newSha: '1'.repeat(40), ref: 'refs/heads/main' }]
  const message =
    typeof claim === 'string' ? claim : JSON.stringify({ ...claim, refs, options: [] })
  socket.write(`${message}\n`)
  let answer = ''
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk
  return answer
}

/** A push in its post-receive hook, with the processes as they are. */
async function givenFollowedPush(t: TestContext, server: GitServer) {
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const build = await server.untilBuild()
  await push.line(/queued/)
  const repoPath = server.repositories.path((await server.app('web')).id)
  for (const pid of await readdir('/proc')) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    const ppid = Number(/PPid:\t(\d+)/.exec(status)?.[1])
    if (!command.includes('client.cjs')) continue
    if (!command.includes(server.root)) continue
    return { repo, push, build, repoPath, hookPid: Number(pid), ppid }
  }
  throw new Error('no hook is running')
}

/** Where a server says one line to whoever comes, and is gone. */
async function givenDyingSocket(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-hook-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const path = join(dir, 's')
  const dying = createServer((socket) => {
    socket.once('data', () => socket.write('{"line":"so far so good"}\n', () => socket.destroy()))
  })
  dying.listen(path)
  t.after(() => dying.close())
  return path
}

async function receivePackOf(repoPath: string): Promise<number> {
  for (;;) {
    for (const pid of await readdir('/proc')) {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      // The last of the programs that the launcher becomes.
      if (command.startsWith('git\0receive-pack') && command.includes(repoPath)) return Number(pid)
    }
    await sleep(10)
  }
}

test('only the hook of a push under way is believed, and each hook once', async (t) => {
  const server = await givenGitServer(t)
  const { repoPath, hookPid, ppid } = await givenFollowedPush(t, server)
  const refused = /belongs to no push.*"exit":1/s
  const replay = { hook: 'post-receive', pid: hookPid, ppid, repo: repoPath }
  assert.match(await say(server, replay), refused, 'a second time')
  assert.match(await say(server, { ...replay, pid: process.pid }), refused, 'not its child')
  assert.match(await say(server, { ...replay, ppid: process.ppid, pid: process.pid }), refused)
  assert.match(await say(server, { ...replay, repo: '/elsewhere' }), refused, 'another repository')
  assert.match(await say(server, 'not json'), refused)
  assert.equal((await server.builds()).length, 1)
})

test('who knows the process of a push is not its hook for all that', async (t) => {
  const server = await givenGitServer(t)
  server.endAll()
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/heads/dev')
  const repoPath = server.repositories.path((await server.app('web')).id)
  const { commands, pack } = await pushBody(repo)
  const { req, reply } = post(`${server.url}/web.git/git-receive-pack`, await server.token())
  req.write(commands)
  const ppid = await receivePackOf(repoPath)
  // No hook has run yet, so nothing is used up; only the parentage is wrong.
  const claim = { hook: 'pre-receive', pid: process.pid, ppid, repo: repoPath }
  assert.match(await say(server, claim), /belongs to no push/)
  req.end(pack)
  assert.match((await reply).text, /ok refs\/heads\/main/)
})

test('the socket is for the git user alone, in a folder it cannot write to', async (t) => {
  const server = await givenGitServer(t)
  const socket = await stat(server.hookSocketPath)
  const folder = await stat(dirname(server.hookSocketPath))
  assert.equal(socket.mode & 0o777, 0o600)
  assert.equal(folder.mode & 0o777, server.user ? 0o710 : 0o700)
  if (!server.user) return
  assert.equal(socket.uid, server.user.uid)
  assert.deepEqual([folder.uid, folder.gid], [process.getuid?.(), server.user.gid])
})

test('a server that stops says so: the push ends well and the build stays', async (t) => {
  const server = await givenGitServer(t)
  const { push, build } = await givenFollowedPush(t, server)
  await server.hooks.stop()
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0)
  assert.match(text, new RegExp(`warning: the build server stops; ${build.id} goes on`))
  assert.equal((await server.builds())[0]?.status, 'queued')
})

test('without the server nothing is accepted', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  await server.hooks.stop()
  const { exitCode, text } = await repo.push('hypeman', 'main')
  assert.equal(exitCode, 1)
  assert.match(text, /error: the build server went away, so the push was not accepted/)
  assert.match(text, /hint: push again/)
  const tip = await server.repositories.tip((await server.app('web')).id, 'refs/heads/main')
  assert.equal(tip, undefined)
})

test('a waiting build shows its position as it changes, and a sign of life in silence', async (t) => {
  const server = await givenGitServer(t, { heartbeatMs: 700 })
  const first = await givenBuild(server.db)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  await push.line(/^ {7}queued, position 2$/)
  await push.line(/^ {7}… queued, position 2 \(\d\.\ds\)$/)
  await server.end(first.id, 'cancelled')
  await push.line(/^ {7}queued, position 1$/)
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await push.line(/^ {7}… starting the builder \(/)
  await server.say(id, { type: 'step', step: { n: 1, name: '[2/4] RUN sleep', state: 'started' } })
  await push.line(/^ {7}… still running: \[2\/4\] RUN sleep \(/)
  await server.end(id, 'ready')
  assert.equal((await push.done).exitCode, 0)
})

test('silence of many seconds does not end the push: git keeps the line alive', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  await sleep(12_000)
  await server.say(id, { type: 'log', line: 'after the silence' })
  await server.end(id, 'ready')
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0)
  assert.match(text, /after the silence/)
})

test('a failed build shows the last lines of its step again, the reason and a hint', async (t) => {
  const server = await givenGitServer(t)
  const repo = await server.givenClient(t, 'web')
  const push = repo.startPush('hypeman', 'main')
  const { id } = await server.untilBuild()
  await server.move(id, 'queued', 'building')
  const step = { n: 3, name: '[3/3] RUN make' }
  await server.say(
    id,
    { type: 'step', step: { ...step, state: 'started' } },
    { type: 'log', line: 'cc -o x', step: 3 },
    { type: 'log', line: 'boom', step: 3 },
    { type: 'step', step: { ...step, state: 'failed', duration_ms: 1234, error: 'exit code 2' } },
  )
  await server.end(id, 'failed', { failure_class: 'build', error: 'step 3 exited with 2' })
  const { exitCode, text } = await push.done
  assert.equal(exitCode, 0, 'the branch has moved')
  assert.match(text, /FAILED 1\.2s\n {7}Last lines of \[3\/3\] RUN make:\n {9}cc -o x\n {9}boom\n/)
  assert.match(
    text,
    new RegExp(`error: build ${id} failed: step 3 exited with 2 \\(class build\\)`),
  )
  assert.match(text, /hint: the Dockerfile/)
})

test('a hook whose server dies ends: nothing is accepted, and a stored push stays stored', async (t) => {
  const path = await givenDyingSocket(t)
  for (const [hook, exitCode, text] of [
    ['pre-receive', 1, 'so the push was not accepted'],
    ['post-receive', 0, 'the push itself is stored'],
  ] as const) {
    const result = await execa(process.execPath, [CLIENT, hook], {
      input: `${ZERO_OID} ${'1'.repeat(40)} refs/heads/main\n`,
      env: { HYPEMAN_HOOK_SOCKET: path },
      reject: false,
    })
    assert.equal(result.exitCode, exitCode)
    assert.ok(result.stdout.startsWith('so far so good\nerror: the build server went away'))
    assert.ok(result.stdout.includes(text))
  }
})

test('a gate whose server dies rejects every ref, in the protocol of git', async (t) => {
  const path = await givenDyingSocket(t)
  const refs = ['refs/heads/main', 'refs/tags/ü']
  const commands = refs.map((ref) => pkt(`${ZERO_OID} ${'1'.repeat(40)} ${ref}`))
  const input = Buffer.concat([pkt('version=1\0atomic\n'), FLUSH, ...commands, FLUSH])
  const hook = execa(process.execPath, [CLIENT, 'proc-receive'], {
    input,
    env: { HYPEMAN_HOOK_SOCKET: path },
    reject: false,
  })
  const { exitCode, stdout, stderr } = await hook
  assert.equal(exitCode, 1)
  const report = refs.map((ref) => pkt(`ng ${ref} the build server went away`))
  assert.equal(stdout, Buffer.concat([pkt('version=1'), FLUSH, ...report, FLUSH]).toString())
  assert.match(stderr, /^so far so good\nerror: the build server went away, so the push was not/)
})
