// The server's end of the hooks: a unix socket only the git user can reach. A hook says which process it
// belongs to; only a push that is under way, in that repository, asking for the first time, is served.
import { once } from 'node:events'
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { asError } from '../errors.ts'
import { HOOK_MESSAGE_BYTES_MAX } from '../limits.ts'
import type { UserIds } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import type { HookKind, LivePush, LivePushes } from './live.ts'
import type { RefUpdate } from './pkt-line.ts'

const oid = z.string().regex(/^[0-9a-f]{40}$/)
const Request = z.object({
  hook: z.enum(['pre-receive', 'post-receive']),
  ppid: z.int().positive(),
  repo: z.string(),
  refs: z.array(z.object({ oldSha: oid, newSha: oid, ref: z.string().max(4096) })),
  options: z.array(z.string()),
})

export interface HookCall {
  push: LivePush
  refs: RefUpdate[]
  options: string[]
  /** Resolves when the hook has taken the lines; rejects when it is gone. */
  print(lines: string[]): Promise<void>
  /** Aborts when the hook is gone. */
  gone: AbortSignal
}

export interface HookSocketOptions {
  path: string
  user: UserIds | null
  live: LivePushes
  log: Log
  /** Each returns the hook's exit code. */
  handlers: Record<HookKind, (call: HookCall) => Promise<number>>
}

export type HookSocket = ReturnType<typeof createHookSocket>

export function createHookSocket({ path, user, live, log, handlers }: HookSocketOptions) {
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => {}) // 'close' follows
    void serve(socket).catch((error) => {
      log.error({ err: asError(error) }, 'hook failed')
      send(socket, { line: 'error: the build server failed; see its log' })
      send(socket, { exit: 1 })
      socket.end()
    })
  })

  async function serve(socket: Socket): Promise<void> {
    const line = await firstLine(socket)
    if (line === undefined) return
    const { hook, ppid, repo, refs, options } = Request.parse(JSON.parse(line))
    const push = live.take(hook, ppid, repo)
    if (!push) {
      log.warn({ hook, ppid, repo }, 'a hook without a push was refused')
      send(socket, { line: 'error: this hook belongs to no push' })
      send(socket, { exit: 1 })
      socket.end()
      return
    }
    const gone = new AbortController()
    socket.once('close', () => gone.abort())
    const print = async (lines: string[]) => {
      for (const text of lines) send(socket, { line: text })
      if (socket.writableNeedDrain) await once(socket, 'drain', { signal: gone.signal })
    }
    const exit = await handlers[hook]({ push, refs, options, print, gone: gone.signal })
    send(socket, { exit })
    socket.end()
  }

  return {
    async start(): Promise<void> {
      await mkdir(dirname(path), { recursive: true })
      await rm(path, { force: true })
      server.listen(path)
      await once(server, 'listening')
      await chmod(path, 0o600)
      await chmod(dirname(path), 0o700)
      if (!user) return
      await chown(path, user.uid, user.gid)
      await chown(dirname(path), user.uid, user.gid)
    },
    async stop(): Promise<void> {
      server.close()
      for (const socket of open) socket.destroy()
      await rm(path, { force: true })
    },
  }
}

function send(socket: Socket, message: { line: string } | { exit: number }): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`)
}

async function firstLine(socket: Socket): Promise<string | undefined> {
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
    if (bytes > HOOK_MESSAGE_BYTES_MAX) socket.destroy()
  })
  const lines = createInterface({ input: socket })
  return new Promise((resolve) => {
    lines.once('line', resolve)
    lines.once('close', () => resolve(undefined))
  })
}
