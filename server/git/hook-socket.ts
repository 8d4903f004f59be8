// The server's end of the hooks: a unix socket only the git user can reach. A hook says which push it belongs
// to; only one that is under way, in that repository, whose process is the hook's parent, asking for the
// first time, is served.
import { once } from 'node:events'
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { asError } from '../errors.ts'
import {
  HOOK_MESSAGE_BYTES_MAX,
  HOOK_MESSAGE_DEADLINE_MS,
  HOOK_STOP_GRACE_MS,
  PUSH_REFS_MAX,
} from '../limits.ts'
import { parseJson } from '../parse-json.ts'
import type { UserIds } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import type { HookKind, LivePush, LivePushes } from './live.ts'
import { parentOf } from './peer.ts'
import type { RefUpdate } from './pkt-line.ts'

const STOP_POLL_MS = 20
const oid = z.string().regex(/^[0-9a-f]{40}$/)
const Request = z.object({
  hook: z.enum(['pre-receive', 'proc-receive', 'post-receive']),
  pid: z.int().positive(),
  ppid: z.int().positive(),
  repo: z.string(),
  refs: z
    .array(z.object({ oldSha: oid, newSha: oid, ref: z.string().max(4096) }))
    .max(PUSH_REFS_MAX),
})

export interface HookCall {
  push: LivePush
  refs: RefUpdate[]
  /** Resolves when the hook has taken the lines; does nothing once it is gone. */
  print(lines: readonly string[]): Promise<void>
  /** Aborts when the hook is gone. */
  gone: AbortSignal
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

export type HookHandlers = Record<HookKind, (call: HookCall) => Promise<HookAnswer>>

export interface HookSocketOptions {
  path: string
  user: UserIds | null
  live: LivePushes
  log: Log
  handlers: HookHandlers
}

export type HookSocket = ReturnType<typeof createHookSocket>

export function createHookSocket({ path, user, live, log, handlers }: HookSocketOptions) {
  const open = new Set<Socket>()
  const stopping = new AbortController()
  const server = createServer((socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => {}) // 'close' follows
    void serve(socket)
      .catch((error): HookAnswer => {
        log.error({ err: asError(error) }, 'hook failed')
        send(socket, { line: 'error: the build server failed; its log says why' })
        return { exit: 1 }
      })
      .then((answer) => {
        if (answer) send(socket, answer)
        socket.end()
      })
  })

  /** undefined = the hook said nothing, so there is nothing to answer. */
  async function serve(socket: Socket): Promise<HookAnswer | undefined> {
    const gone = new AbortController()
    socket.once('close', () => gone.abort())
    const line = await firstLine(socket)
    if (line === undefined) return undefined
    const asked = Request.safeParse(parseJson(line))
    const push = asked.success ? await pushOf(asked.data) : undefined
    if (!asked.success || !push) {
      const { hook, pid, ppid, repo } = asked.data ?? {}
      log.warn({ hook, pid, ppid, repo }, 'a hook that belongs to no push was refused')
      send(socket, { line: 'error: this hook belongs to no push' })
      return { exit: 1 }
    }
    const { hook, refs } = asked.data
    return handlers[hook]({
      push,
      refs,
      print: (lines) => print(socket, lines, gone.signal),
      gone: gone.signal,
      stopping: stopping.signal,
    })
  }

  async function pushOf(asked: z.infer<typeof Request>): Promise<LivePush | undefined> {
    if ((await parentOf(asked.pid)) !== asked.ppid) return undefined
    return live.take(asked.hook, asked.ppid, asked.repo)
  }

  const hooks = {
    async start(): Promise<void> {
      const dir = dirname(path)
      await mkdir(dir, { recursive: true, mode: 0o700 })
      await rm(path, { force: true })
      // The git user may walk in, but not put a socket of its own there.
      await chmod(dir, user ? 0o710 : 0o700)
      if (user) await chown(dir, process.getuid?.() ?? 0, user.gid)
      server.listen(path)
      await once(server, 'listening')
      await chmod(path, 0o600)
      if (user) await chown(path, user.uid, user.gid)
    },

    /**
     * Lets hooks end by themselves for a moment, so that people read why. Those that come later are still heard: a
     * push whose ref has moved is taken in, however late its hook.
     */
    async quiesce(): Promise<void> {
      stopping.abort()
      const deadline = performance.now() + HOOK_STOP_GRACE_MS
      while (open.size > 0 && performance.now() < deadline) await sleep(STOP_POLL_MS)
    },

    async stop(): Promise<void> {
      if (!server.listening) return
      await hooks.quiesce()
      server.close()
      for (const socket of open) socket.destroy()
      await rm(path, { force: true })
    },
  }
  return hooks
}

type Message = { line: string } | HookAnswer

function send(socket: Socket, message: Message): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`)
}

async function print(socket: Socket, lines: readonly string[], gone: AbortSignal): Promise<void> {
  for (const line of lines) send(socket, { line })
  if (!socket.writable || !socket.writableNeedDrain) return
  await once(socket, 'drain', { signal: gone }).catch(() => {}) // the caller looks at `gone`
}

/** undefined when the connection ends, or is cut for saying too much or nothing. */
async function firstLine(socket: Socket): Promise<string | undefined> {
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
    if (bytes > HOOK_MESSAGE_BYTES_MAX) socket.destroy()
  })
  const deadline = setTimeout(() => socket.destroy(), HOOK_MESSAGE_DEADLINE_MS)
  const lines = createInterface({ input: socket })
  const line = await new Promise<string | undefined>((resolve) => {
    lines.once('line', resolve)
    lines.once('close', () => resolve(undefined))
    socket.once('close', () => resolve(undefined))
  })
  clearTimeout(deadline)
  return line
}
