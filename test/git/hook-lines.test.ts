// The line between hooks and server, without git: the hooks as they are, started by a shell in git's place.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createHookLines, type HookCall, type HookHandlers } from '../../server/git/hook-lines.ts'
import type { LivePush } from '../../server/git/live.ts'
import { FLUSH, pkt, ZERO_OID } from '../../server/git/pkt-line.ts'
import { silent } from '../helpers/database.ts'

const HOOKS = fileURLToPath(new URL('../../hooks', import.meta.url))
const MOVE = `${ZERO_OID} ${'1'.repeat(40)}`
const MAIN = `${MOVE} refs/heads/main\n`
const ACCEPTED = /error: the build server went away, so the push was not accepted/
const STORED = /error: the build server went away; the push itself is stored/

interface Given {
  git: ChildProcess
  /** What the client of the push reads. */
  shown: Promise<string>
  exitCode: Promise<number | null>
  /** What git itself has printed. */
  said(): string
  stop(): Promise<void>
}

/** Runs a script as the server runs git; `script` finds the hooks in $HOOKS. */
function givenGit(t: TestContext, script: string, handlers: Partial<HookHandlers> = {}): Given {
  const git = spawn('sh', ['-c', `exec 3>&2\n${script}`], {
    env: { ...process.env, HOOKS, HYPEMAN_NODE: process.execPath },
  })
  t.after(() => git.kill('SIGKILL'))
  const over = new AbortController()
  git.once('exit', () => over.abort())
  const unexpected = async () => assert.fail('nothing was to be asked')
  const all = { 'pre-receive': unexpected, 'proc-receive': unexpected, 'post-receive': unexpected }
  const hooks = createHookLines({ log: silent, handlers: { ...all, ...handlers } })
  let said = ''
  hooks.attach(git, { over } as unknown as LivePush, (piece) => {
    said += piece
  })
  return {
    git,
    shown: text(git.stdout!),
    exitCode: once(git, 'close').then(([code]) => code),
    said: () => said,
    stop: hooks.stop,
  }
}

const input = (lines: string) => `printf '%s' '${lines}' |`

test('a hook passes on refs of any name, what the server says, and its exit code', async (t) => {
  const refs = ['refs/heads/main', 'refs/heads/ü\u2028ber', 'refs/heads/-n %s\\n', 'refs/tags/a"b']
  const lines = refs.map((ref) => `${MOVE} ${ref}\n`).join('')
  const calls: HookCall[] = []
  const { shown, exitCode, said } = givenGit(t, `${input(lines)} $HOOKS/pre-receive`, {
    async 'pre-receive'(call) {
      calls.push(call)
      await call.print(['first', '', '  >exit 0 \\n %s', 'two\nlines', 'exit 0'])
      return { exit: 3 }
    },
  })
  assert.equal(await exitCode, 3)
  assert.deepEqual(
    calls.map((call) => call.refs.map(({ ref }) => ref)),
    [refs],
  )
  assert.equal(await shown, 'first\n\n  >exit 0 \\n %s\ntwo\nlines\nexit 0\n')
  assert.equal(said(), '')
})

test('one hook after the other is served, and none of the text is lost, however much', async (t) => {
  const line = `${'x'.repeat(200)} end`
  const few = Array.from({ length: 300 }, (_, i) => `${i} ${line}`)
  const many = Array.from({ length: 20_000 }, (_, i) => `${i} ${line}`)
  const script = ['pre-receive', 'post-receive'].map((hook) => `${input(MAIN)} $HOOKS/${hook}`)
  const { shown, exitCode } = givenGit(t, script.join(' && '), {
    async 'pre-receive'({ print }) {
      await print(few)
      return { exit: 0 }
    },
    async 'post-receive'({ print }) {
      await print(many)
      return { exit: 0 }
    },
  })
  assert.equal(await shown, `${[...few, ...many].join('\n')}\n`)
  assert.equal(await exitCode, 0)
})

test('what git itself prints is no hook, whatever a pusher has put into it', async (t) => {
  const forged = `post-receive\n${'0'.repeat(32)} post-receive\n${MAIN}error: unterminated`
  const script = `printf '%s' '${forged}' >&2; ${input(MAIN)} $HOOKS/pre-receive; echo fatal: end >&2`
  const { exitCode, said } = givenGit(t, script, { 'pre-receive': async () => ({ exit: 0 }) })
  assert.equal(await exitCode, 0)
  assert.equal(said(), `${forged}\nfatal: end\n`)
})

for (const [hook, code, reason] of [
  ['pre-receive', 1, ACCEPTED],
  ['post-receive', 0, STORED],
] as const) {
  test(`${hook} ends with a line to read when the server dies while it waits`, async (t) => {
    const { git, shown, exitCode } = givenGit(t, `${input(MAIN)} $HOOKS/${hook}`, {
      async [hook]({ print }: HookCall) {
        await print(['so far so good'])
        git.stderr?.destroy() // all that a process leaves of its connections when it is killed
        return new Promise<never>(() => {})
      },
    })
    assert.equal(await exitCode, code)
    assert.match(await shown, /^so far so good\n/)
    assert.match(await shown, reason)
  })

  test(`${hook} ends with a line to read when the server is gone before it begins`, async (t) => {
    const { git, shown, exitCode } = givenGit(t, `read _; ${input(MAIN)} $HOOKS/${hook}`)
    git.stderr?.destroy()
    git.stdin?.end('\n')
    assert.equal(await exitCode, code)
    assert.match(await shown, reason)
  })

  test(`${hook} ends with a line to read when no server has started it`, async (t) => {
    const { shown, exitCode } = givenGit(t, `${input(MAIN)} $HOOKS/${hook} 3>&-`)
    assert.equal(await exitCode, code)
    assert.match(await shown, reason)
  })
}

test('a server that has stopped serves no hook, and one that waits is told', async (t) => {
  let isAsked = () => {}
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve
  })
  const { shown, exitCode, stop } = givenGit(t, `${input(MAIN)} $HOOKS/post-receive`, {
    'post-receive'() {
      isAsked()
      return new Promise<never>(() => {})
    },
  })
  await asked
  await stop()
  assert.equal(await exitCode, 0)
  assert.match(await shown, STORED)
})

test('a hook that outlives its git ends', async (t) => {
  const script = `${input(MAIN)} $HOOKS/post-receive & wait`
  const { git, shown } = givenGit(t, script, {
    async 'post-receive'({ print, push }) {
      await print(['watching'])
      git.kill('SIGKILL')
      await once(push.over.signal, 'abort')
      return { exit: 0 }
    },
  })
  // Its standard output is closed only when nobody has it any more.
  assert.match(await shown, /^watching\n/)
})

test('a hook that failed in the server says so and refuses', async (t) => {
  const { shown, exitCode } = givenGit(t, `${input(MAIN)} $HOOKS/pre-receive`, {
    'pre-receive': async () => assert.fail('broken'),
  })
  assert.equal(await exitCode, 1)
  assert.equal(await shown, 'error: the build server failed; its log says why\n')
})

/** git's side of proc-receive, and what the hook has answered on its standard output. */
function gatedScript(refs: readonly string[]): string {
  const commands = refs.map((ref) => pkt(`${MOVE} ${ref}`))
  const bytes = Buffer.concat([pkt('version=1\0atomic\n'), FLUSH, ...commands, FLUSH])
  const octal = [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
  return `printf '${octal}' | $HOOKS/proc-receive 2>/dev/null`
}

const answered = (...lines: string[]) =>
  Buffer.concat([pkt('version=1'), FLUSH, ...lines.map((line) => pkt(line)), FLUSH]).toString()

test('a gate answers in the protocol of git, and the hook after it is served as well', async (t) => {
  const refs = ['refs/heads/main', 'refs/tags/ü']
  const many = 'x'.repeat(100_000)
  const script = `${gatedScript(refs)}; ${input(MAIN)} $HOOKS/post-receive`
  const { shown, exitCode } = givenGit(t, script, {
    async 'proc-receive'(call) {
      await call.print([many, many])
      return { exit: 0, results: [{ ref: refs[0]! }, { ref: refs[1]!, reason: 'step 1 failed' }] }
    },
    async 'post-receive'({ print }) {
      await print(['moved'])
      return { exit: 0 }
    },
  })
  const report = ['ok refs/heads/main', 'option fall-through', 'ng refs/tags/ü step 1 failed']
  assert.equal(await shown, `${answered(...report)}moved\n`)
  assert.equal(await exitCode, 0)
})

test('a gate that failed in the server, or whose server dies, rejects every ref', async (t) => {
  const refs = ['refs/heads/main', 'refs/tags/ü']
  const failing = givenGit(t, gatedScript(refs), { 'proc-receive': async () => assert.fail('no') })
  assert.equal(
    await failing.shown,
    answered(...refs.map((ref) => `ng ${ref} the build server failed`)),
  )
  const dying = givenGit(t, gatedScript(refs), {
    async 'proc-receive'({ print }) {
      await print(['so far so good'])
      dying.git.stderr?.destroy()
      return new Promise<never>(() => {})
    },
  })
  assert.equal(await dying.exitCode, 1)
  assert.equal(
    await dying.shown,
    answered(...refs.map((ref) => `ng ${ref} the build server went away`)),
  )
})
