// The server's end of the hooks. git's stderr is a socket, and what starts git keeps it open as descriptor 3 for
// the hooks: only they and git itself have it, and it ends with either side. Whatever does not begin with the key
// that the server has sent is git's own text, and may hold what a pusher wrote.
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { asError } from '../errors.ts'
import { HOOK_STOP_GRACE_MS, PUSH_REFS_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { type KeyedLines, readKeyedLines } from './keyed-lines.ts'
import type { LivePush } from './live.ts'
import type { RefUpdate } from './pkt-line.ts'

const STOP_POLL_MS = 20
const KEY_BYTES = 16
const OID = '[0-9a-f]{40}'
const MOVE = new RegExp(`^(${OID}) (${OID}) (.+)$`, 's')

const Asked = z.object({
  hook: z.enum(['pre-receive', 'proc-receive', 'post-receive']),
  refs: z
    .array(
      z
        .string()
        .regex(MOVE)
        .transform((line): RefUpdate => {
          const [, oldSha = '', newSha = '', ref = ''] = MOVE.exec(line) ?? []
          return { oldSha, newSha, ref }
        }),
    )
    .max(PUSH_REFS_MAX),
})
type Asked = z.infer<typeof Asked>

export type HookKind = Asked['hook']

export interface HookCall {
  push: LivePush
  refs: RefUpdate[]
  /** Resolves when the hook has taken the lines; does nothing once it is gone. */
  print(lines: readonly string[]): Promise<void>
  /** Aborts when the server stops: say goodbye and return. */
  stopping: AbortSignal
}

/** What becomes of a ref of a gated push: without a reason it moves. */
export interface RefResult {
  ref: string
  reason?: string
}

export interface HookAnswer {
  /** The hook's exit code. */
  exit: number
  /** Of proc-receive. */
  results?: RefResult[]
}

interface Served {
  line: Socket
  push: LivePush
  key: string
}

export type HookHandlers = Record<HookKind, (call: HookCall) => Promise<HookAnswer>>

export type HookLines = ReturnType<typeof createHookLines>

export function createHookLines({ log, handlers }: { log: Log; handlers: HookHandlers }) {
  const open = new Set<Socket>()
  const stopping = new AbortController()
  let calls = 0
  let isStopped = false

  async function serve(line: Socket, push: LivePush, said: (text: string) => void): Promise<void> {
    const key = randomBytes(KEY_BYTES).toString('hex')
    const lines = readKeyedLines(line, key, said)
    if (!isStopped) send(line, [key])
    for (;;) {
      const asked = await readAsked(lines)
      if (!asked) return
      calls += 1
      try {
        await answer({ line, push, key }, asked)
        await lines.next() // it says that it has taken everything
      } finally {
        calls -= 1
      }
      if (asked.hook === 'proc-receive') send(line, [key])
    }
  }

  async function answer({ line, push, key }: Served, { hook, refs }: Asked): Promise<void> {
    const { signal } = push.over
    const mark = hook === 'post-receive' ? '' : '>'
    const print = (texts: readonly string[]) => {
      const marked = texts.flatMap((text) => text.split('\n').map((part) => mark + part))
      return sendAll(line, marked, signal)
    }
    const call = { push, refs, print, stopping: stopping.signal }
    const found = await handlers[hook](call).catch(async (error): Promise<HookAnswer> => {
      log.error({ err: asError(error) }, 'hook failed')
      await print(['error: the build server failed; its log says why'])
      return {
        exit: 1,
        results: refs.map(({ ref }) => ({ ref, reason: 'the build server failed' })),
      }
    })
    const verdict = [...reportOf(found.results ?? []), `exit ${found.exit}`]
    // The last hook passes on what comes until it ends. The key for the next is sent while this one is surely there,
    // because a failing write would end the reading too; but a gate reads ahead.
    if (hook === 'post-receive') line.end()
    else send(line, hook === 'pre-receive' ? [...verdict, key] : verdict)
  }

  const hooks = {
    /** Serves the hooks of a push for as long as its git lives; `said` gets what git itself prints. */
    attach(git: ChildProcess, push: LivePush, said: (text: string) => void): void {
      const line = git.stderr
      // Node makes such a pipe as a pair of sockets, which goes both ways.
      if (!(line instanceof Socket)) throw new Error('git has no line to the server')
      open.add(line)
      line.once('close', () => open.delete(line))
      line.on('error', () => {}) // git has ended: push.over says so
      if (isStopped) line.end()
      // A hook may have outlived its git.
      push.over.signal.addEventListener('abort', () => line.end(), { once: true })
      serve(line, push, said).catch((error) => {
        log.error({ err: asError(error) }, 'a hook was not understood')
        line.destroy()
      })
    },

    /**
     * Lets hooks end by themselves for a moment, so that people read why. Those that come later are still heard: a
     * push whose ref has moved is taken in, however late its hook.
     */
    async quiesce(): Promise<void> {
      stopping.abort()
      const deadline = performance.now() + HOOK_STOP_GRACE_MS
      while (calls > 0 && performance.now() < deadline) await sleep(STOP_POLL_MS)
    },

    async stop(): Promise<void> {
      await hooks.quiesce()
      isStopped = true
      for (const line of open) line.destroy()
    },
  }
  return hooks
}

/** Throws ZodError. */
async function readAsked({ next }: KeyedLines): Promise<Asked | undefined> {
  const hook = await next()
  const refs: string[] = []
  for (;;) {
    const ref = await next()
    if (ref === undefined) return undefined
    if (ref === '') return Asked.parse({ hook, refs })
    refs.push(ref)
  }
}

/** As git wants to hear it from proc-receive, a line a packet. */
function reportOf(results: readonly RefResult[]): string[] {
  return results.flatMap(({ ref, reason }) =>
    reason === undefined ? [`=ok ${ref}`, '=option fall-through'] : [`=ng ${ref} ${reason}`],
  )
}

function send(line: Socket, lines: readonly string[]): void {
  if (line.writable && lines.length > 0) line.write(`${lines.join('\n')}\n`)
}

async function sendAll(line: Socket, lines: readonly string[], over: AbortSignal): Promise<void> {
  send(line, lines)
  if (!line.writable || !line.writableNeedDrain) return
  await once(line, 'drain', { signal: over }).catch(() => {}) // the caller looks whether it is over
}
