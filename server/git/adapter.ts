// Between HTTP and node-git-server 1.0.0. The library spawns git and pipes; everything it gets wrong is kept
// from it: it sees only requests that are authorised and complete at the head, and never the raw connection.
import type { ChildProcess } from 'node:child_process'
import type { EventEmitter } from 'node:events'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type Duplex, PassThrough } from 'node:stream'
import { finished } from 'node:stream/promises'
import { Git } from 'node-git-server'
import { AppError } from '../errors.ts'
import { GIT_IDLE_MAX_MS, PACK_BYTES_MAX } from '../limits.ts'
import { whileDiskRoom } from '../objects/disk-room.ts'
import type { Log } from '../telemetry/log.ts'
import { errorLines } from './denial.ts'
import { GATED_SUFFIX } from './git-user.ts'
import { createLibraryReply, type LibraryReply } from './library-reply.ts'
import { type PushHead, PushTooLong, readFetchHead, readPushHead } from './pkt-line.ts'
import { type GitBody, readBody } from './request-body.ts'
import { type PushRefusal, refusalReport, SIDEBAND, textPackets } from './sideband.ts'
import { wholeAnswer } from './whole-answer.ts'

const STDERR_BYTES_KEPT = 2_000
const EMPTY = Buffer.alloc(0)

export type GitService = 'git-receive-pack' | 'git-upload-pack'

export interface GitRequest {
  /** Folder name of the repository below the root given to the adapter. */
  repository: string
  service: GitService
  req: IncomingMessage
  res: ServerResponse
}

/** How a push goes on once it is known what it wants. */
export interface AcceptedPush {
  /** Its refs pass through the proc-receive hook. */
  isGated: boolean
  /** Called with git's process before it reads anything; `said` takes what that prints on stderr. */
  onProcess(process: ChildProcess, said: (text: string) => void): void
}

interface LibraryService extends EventEmitter {
  accept(): void
}

export interface GitAdapterOptions {
  root: string
  log: Log
  idleMaxMs?: number | undefined
  packBytesMax?: number | undefined
  stallMaxMs?: number | undefined
  /** Of the disk that packs are written to. Throws AppError `disk_full`. */
  requireRoom?: (() => Promise<void>) | undefined
}

export type GitAdapter = ReturnType<typeof createGitAdapter>

export function createGitAdapter(options: GitAdapterOptions) {
  const { root, log, stallMaxMs, requireRoom = async () => {} } = options
  const { idleMaxMs = GIT_IDLE_MAX_MS, packBytesMax = PACK_BYTES_MAX } = options

  /** Hands a request over; resolves when it is answered or the client is gone. */
  async function hand(
    request: GitRequest,
    method: string,
    url: string,
    feed: Feed,
    push?: HandedPush,
  ): Promise<void> {
    // An instance per request, so that its events can't be another's.
    const suffix = push?.isGated ? GATED_SUFFIX : ''
    const git = new Git((name = '') => join(root, name) + suffix, { autoCreate: false })
    const reply = createLibraryReply(request.res, stallMaxMs, push?.through)
    const body = new PassThrough()
    const ended = new AbortController()
    const fail = (error: Error) => {
      log.error({ err: error.message, service: request.service }, 'git could not be run')
      reply.fail()
      ended.abort()
    }
    git.on('error', fail)
    for (const event of ['push', 'tag', 'fetch'] as const) {
      git.on(event, (given: unknown) => {
        const service = given as LibraryService
        if (service.listenerCount('service') > 0) return // one event per ref, all the same service
        service.on('error', fail)
        service.once('service', (child: ChildProcess) => {
          const said = adopt(child, request, reply.done)
          if (push) push.onProcess(child, said)
          else child.stderr?.setEncoding('utf8').on('data', said)
          child.once('exit', () => ended.abort())
        })
        service.accept()
      })
    }
    const fake = Object.assign(body, { method, url, headers: {} })
    git.handle(fake as unknown as IncomingMessage, reply.fake)
    await feed(body, ended.signal, reply)
    await reply.done
  }

  /** Returns what takes the text of its stderr. */
  function adopt(
    child: ChildProcess,
    request: GitRequest,
    answered: Promise<void>,
  ): (text: string) => void {
    let stderr = ''
    child.stdin?.on('error', () => {}) // git may end before it has read everything
    child.once('close', (code) => {
      if (stderr) log.info({ code, stderr, repository: request.repository }, 'git said')
    })
    // Nobody wants the rest of a fetch. A push goes on: its refs may be moving, and its build is wanted.
    if (request.service === 'git-upload-pack') void answered.then(() => child.kill())
    return (text) => {
      stderr = (stderr + text).slice(-STDERR_BYTES_KEPT)
    }
  }

  async function forward(request: GitRequest, feed: Feed, push?: HandedPush): Promise<void> {
    const { repository, service } = request
    await hand(request, 'POST', `/${repository}/${service}`, feed, push)
  }

  /** git refuses a pack over the limit by itself, but does not say which limit. */
  function watchSize(head: PushHead, reply: LibraryReply): (bytes: number) => void {
    let left = packBytesMax
    return (bytes) => {
      if (left >= 0 && left < bytes) reply.prefix(textPackets(head, tooBig(packBytesMax)))
      left -= bytes
    }
  }

  async function refuseWithoutRoom(): Promise<PushRefusal | undefined> {
    try {
      await requireRoom()
      return undefined
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      return { reasonFor: () => 'the server is out of disk', lines: errorLines(error) }
    }
  }

  /** The disk may fill up while a pack comes: git then gets no more of it, and keeps nothing. */
  function packFeed(head: PushHead, source: GitBody): Feed {
    return async (body, ended, reply) => {
      const passing = watchSize(head, reply)
      const watched = { rest: () => whileDiskRoom(source.rest(), requireRoom) }
      const error = await pump(head.bytes, watched, body, ended, passing)
      if (!(error instanceof AppError)) return
      reply.prefix(textPackets(head, errorLines(error)))
      await drain(source)
    }
  }

  return {
    /** GET info/refs. */
    async advertise(request: GitRequest): Promise<void> {
      const { repository, service } = request
      const url = `/${repository}/info/refs?service=${service}`
      await hand(request, 'GET', url, async (body) => {
        body.end()
      })
    },

    /** POST git-upload-pack. Throws PktLineError. */
    async fetch(request: GitRequest): Promise<void> {
      const source = readBody(request.req, idleMaxMs)
      const head = await readFetchHead(source)
      if (!head) return answer(request, EMPTY)
      return forward(request, async (body, ended) => {
        await pump(head, source, body, ended)
      })
    },

    /** POST git-receive-pack. `decide` may name a reason to refuse the whole push. Throws PktLineError. */
    async push(
      request: GitRequest,
      decide: (head: PushHead) => Promise<AcceptedPush | PushRefusal>,
    ): Promise<void> {
      const source = readBody(request.req, idleMaxMs)
      let head: PushHead
      let decision: AcceptedPush | PushRefusal
      try {
        head = await readPushHead(source)
        // git's probe before a large push: it only wants to know whether it may.
        if (head.updates.length === 0) return await answer(request, EMPTY)
        decision = (await refuseWithoutRoom()) ?? (await decide(head))
      } catch (error) {
        if (!(error instanceof PushTooLong)) throw error
        head = error.head
        decision = tooLong(error.message)
      }
      if ('onProcess' in decision) {
        const through = head.capabilities.has(SIDEBAND) ? wholeAnswer() : undefined
        return forward(request, packFeed(head, source), { ...decision, through })
      }
      await drain(source)
      await answer(request, refusalReport(head, decision))
    },
  }
}

interface HandedPush extends AcceptedPush {
  /** What git's answer goes through on its way to the client. */
  through: Duplex | undefined
}

type Feed = (body: PassThrough, gitEnded: AbortSignal, reply: LibraryReply) => Promise<void>

/**
 * The head goes in as the first chunk, whole: the library looks at no other. A client that leaves ends the
 * body, and git rejects what is incomplete; what comes after git has ended is read and thrown away, because
 * the client reads no answer before it has sent everything.
 */
async function pump(
  head: Buffer,
  source: Pick<GitBody, 'rest'>,
  body: PassThrough,
  ended: AbortSignal,
  passing: (bytes: number) => void = () => {},
): Promise<unknown> {
  body.write(head)
  try {
    for await (const chunk of source.rest()) {
      passing(chunk.length)
      if (ended.aborted || body.write(chunk)) continue
      await once(body, 'drain', { signal: ended }).catch(() => {}) // git has ended: the rest is dropped
    }
  } catch (error) {
    // The client is gone, sent what is not gzip, or the disk is full: git sees the end of the pack too early and says so.
    return error
  } finally {
    body.end()
  }
  return undefined
}

/** git reads no answer before it has sent its pack. */
async function drain(source: GitBody): Promise<void> {
  for await (const _ of source.rest());
}

async function answer({ res, service }: GitRequest, report: Buffer): Promise<void> {
  res.writeHead(200, {
    'content-type': `application/x-${service}-result`,
    'content-length': report.length,
  })
  res.end(report)
  await finished(res, { readable: false }).catch(() => {}) // the client may be gone; nothing is lost
}

function tooBig(bytesMax: number): string[] {
  return [
    `error: the pack is over the limit of ${bytesMax} bytes, so nothing of it is kept`,
    'hint: push the history in parts, or take large files out of it',
  ]
}

function tooLong(message: string): PushRefusal {
  return {
    reasonFor: () => 'too much in one push',
    lines: [`error: ${message}`, 'hint: push fewer at a time'],
  }
}
