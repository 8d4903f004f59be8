// Between HTTP and node-git-server 1.0.0. The library spawns git and pipes; everything it gets wrong is kept
// from it: it sees only requests that are authorised, complete at the head, and cut off from the raw socket.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, type Readable } from 'node:stream'
import { Git } from 'node-git-server'
import type { Log } from '../telemetry/log.ts'
import { PktLineError, type PushHead, parsePushHead, refusalReport } from './pkt-line.ts'
import { decodedBody, readHead } from './request-body.ts'

export type GitService = 'git-receive-pack' | 'git-upload-pack'

export interface GitRequest {
  /** Folder name of the repository below the root given to the adapter. */
  repository: string
  service: GitService
  req: IncomingMessage
  res: ServerResponse
  /** Called with git's process before it reads anything. */
  onProcess?(process: ChildProcess): void
}

interface LibraryService extends NodeJS.EventEmitter {
  accept(): void
}

export type GitAdapter = ReturnType<typeof createGitAdapter>

const TYPE = 'application/x-git-receive-pack-result'

export function createGitAdapter({ root, log }: { root: string; log: Log }) {
  /** Each request has an instance of its own, so that its events can't be another's. */
  function library(request: GitRequest): Git {
    const git = new Git(root, { autoCreate: false })
    const accept = (service: LibraryService) => {
      service.on('error', (error: Error) => log.warn({ err: error.message }, 'git service'))
      service.once('service', (child: ChildProcess) => adopt(child, request))
      service.accept()
    }
    let accepted = false
    for (const event of ['push', 'tag', 'fetch'] as const) {
      git.on(event, (service: unknown) => {
        if (accepted) return
        accepted = true
        accept(service as LibraryService)
      })
    }
    return git
  }

  function adopt(child: ChildProcess, { res, onProcess }: GitRequest): void {
    onProcess?.(child)
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-2000)
    })
    child.stdin?.on('error', () => {}) // git may end before it has read everything
    child.once('close', (code) => {
      if (stderr) log.debug({ code, stderr }, 'git')
      if (!res.writableEnded) res.end()
    })
    // A client that is gone must not block git: without a reader it and its hook would wait for ever.
    res.once('close', () => {
      if (res.writableFinished) return
      child.stdout?.unpipe()
      child.stdout?.resume()
    })
  }

  function hand(request: GitRequest, method: string, url: string, body: Readable): void {
    const { res } = request
    res.statusCode = 200 // Koa has set 404, and the library sets nothing
    const fake = Object.assign(body, { method, url, headers: {} })
    library(request).handle(fake as unknown as IncomingMessage, res)
  }

  return {
    /** GET info/refs. */
    advertise(request: GitRequest): void {
      const { repository, service } = request
      const body = new PassThrough()
      body.end()
      hand(request, 'GET', `/${repository}/info/refs?service=${service}`, body)
    },

    /** POST git-upload-pack. */
    async fetch(request: GitRequest): Promise<void> {
      const source = decodedBody(request.req)
      const { head, value: isFlush } = await readHead(source, firstPacket)
      if (isFlush) return endEmpty(request.res)
      await forward(request, head, source)
    },

    /** POST git-receive-pack. `refuse` may name a reason to refuse the whole push. */
    async push(request: GitRequest, refuse: (head: PushHead) => string | undefined): Promise<void> {
      const { req, res } = request
      const source = decodedBody(req)
      const { value: head } = await readHead(source, (buffer) => {
        const parsed = parsePushHead(buffer)
        return parsed && { value: parsed, length: parsed.bytes.length }
      })
      // git's probe before a large push: it only wants to know whether it may.
      if (head.updates.length === 0) return endEmpty(res)
      const reason = refuse(head)
      if (reason === undefined) return forward(request, head.bytes, source)
      for await (const _ of source); // git reads no answer before it has sent its pack
      res.writeHead(200, { 'content-type': TYPE, 'cache-control': 'no-cache' })
      res.end(refusalReport(head, reason))
    },
  }

  // The head goes in as the first chunk, whole: the library looks at no other.
  async function forward(request: GitRequest, head: Buffer, source: Readable): Promise<void> {
    const { repository, service, res } = request
    const body = new PassThrough()
    body.on('error', () => {})
    hand(request, 'POST', `/${repository}/${service}`, body)
    body.write(head)
    source.once('error', () => body.end())
    source.once('close', () => body.end())
    source.pipe(body)
    await once(res, 'close')
  }
}

function endEmpty(res: ServerResponse): void {
  res.writeHead(200, { 'content-type': TYPE, 'content-length': 0 })
  res.end()
}

function firstPacket(buffer: Buffer): { value: boolean; length: number } | undefined {
  if (buffer.length < 4) return undefined
  const length = Number.parseInt(buffer.toString('latin1', 0, 4), 16)
  if (Number.isNaN(length) || length > 65_520) throw new PktLineError('bad packet length')
  if (length === 0) return { value: true, length: 4 }
  return buffer.length < length ? undefined : { value: false, length }
}
