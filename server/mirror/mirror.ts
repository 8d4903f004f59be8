// The registries that are mirrored, as they are read through our proxy: `mirror/<host>/<name>` is what the
// registry has or had, kept in our own on the way. The caller is authorised by then; nothing is written by it.
import { setMaxListeners } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createId } from '@paralleldrive/cuid2'
import { asError } from '../errors.ts'
import { requireDiskRoom } from '../objects/disk-room.ts'
import { forward } from '../registry/forward.ts'
import { MIRROR_AREA, type RepoRoute, routePath } from '../registry/names.ts'
import type { MirrorService } from '../registry/proxy.ts'
import { type OciCode, replyOci } from '../registry/replies.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'
import type { Log } from '../telemetry/log.ts'
import { MirrorRefusal, refusalOf, unreachable } from './answers.ts'
import type { Send } from './connect.ts'
import { type Download, startDownload } from './download.ts'
import { createManifests, type FoundManifest, type Origin } from './manifests.ts'
import { NOTE_HEADER, noteOf } from './note-header.ts'
import { createRemote, type Remote } from './remote.ts'
import { isMirrored, type MirrorSource } from './sources.ts'
import { createMirrorStore } from './store.ts'

/** What became of one image (not of its layers) that was asked for. */
export interface MirrorEvent {
  /** `docker.io` */
  host: string
  /** `docker.io/library/alpine:3` */
  image: string
  buildId: string | undefined
  outcome: Origin | 'refused'
  /** Of what is refused or stale. */
  why?: string
}

export interface MirrorOptions {
  upstream: RegistryUpstream
  sources: readonly MirrorSource[]
  send: Send
  /** For what is on its way. */
  folder: string
  log: Log
  onEvent?: (event: MirrorEvent) => void
  tagTtlMs?: number
}

export interface Mirror extends MirrorService {
  hosts: readonly string[]
  stop(): void
}

interface Place {
  source: MirrorSource
  repo: string
  name: string
}

export async function createMirror(options: MirrorOptions): Promise<Mirror> {
  const { upstream, sources, folder, log, onEvent = () => {} } = options
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const stopping = new AbortController()
  setMaxListeners(0, stopping.signal)
  const store = createMirrorStore(upstream)
  const remotes = new Map(sources.map((each) => [each.host, createRemote(each, options.send)]))
  const remoteOf = (host: string): Remote => remotes.get(host)!
  const { signal } = stopping
  const { tagTtlMs } = options
  const findManifest = createManifests({
    store,
    remoteOf,
    signal,
    log,
    ...(tagTtlMs === undefined ? {} : { tagTtlMs }),
  })
  const downloads = new Map<string, Promise<Download>>()

  function findPlace(repo: string): Place | undefined {
    const [host = '', ...rest] = repo.slice(MIRROR_AREA.length).split('/')
    const name = rest.join('/')
    const source = sources.find((each) => each.host === host)
    return source && name !== '' ? { source, repo, name } : undefined
  }

  function placeOf(repo: string): Place {
    const place = findPlace(repo)
    if (place) return place
    throw new MirrorRefusal(404, 'NAME_UNKNOWN', `${repo} is not mirrored`)
  }

  function requireMirrored({ source, name }: Place): void {
    if (isMirrored(source, name)) return
    const message = `${source.host}/${name} is not in REGISTRY_MIRROR_REPOSITORIES`
    throw new MirrorRefusal(404, 'NAME_UNKNOWN', message)
  }

  async function manifest(
    req: IncomingMessage,
    res: ServerResponse,
    { route, buildId }: { route: Extract<RepoRoute, { kind: 'manifest' }>; buildId?: string },
  ): Promise<void> {
    const { repo, reference } = route
    const place = placeOf(repo)
    const { name } = place
    const { host } = place.source
    const image = `${host}/${name}${reference.includes(':') ? '@' : ':'}${reference}`
    const tell = (outcome: MirrorEvent['outcome'], why?: string) => {
      const event = { host, image, buildId, outcome, ...(why === undefined ? {} : { why }) }
      const note = noteOf(event)
      if (note !== undefined) res.setHeader(NOTE_HEADER, note)
      onEvent(event)
    }
    let found: FoundManifest
    try {
      requireMirrored(place)
      requireSha256(reference, 'MANIFEST_UNKNOWN')
      found = await findManifest({ host, name, repo, reference })
    } catch (error) {
      if (error instanceof MirrorRefusal) tell('refused', error.message)
      throw error
    }
    const { origin, why } = found
    if (origin === 'stale') log.warn({ image, why }, 'mirror: served as it was stored')
    tell(origin, why)
    res.writeHead(200, {
      'content-type': found.type,
      'content-length': found.body.length,
      'docker-content-digest': found.digest,
      'docker-distribution-api-version': 'registry/2.0',
    })
    res.end(req.method === 'HEAD' ? undefined : found.body)
  }

  /** One for all who want the same; it goes on when they have left, for those who come. */
  function download(place: Place, digest: string): Promise<Download> {
    const key = `${place.repo}@${digest}`
    const running = downloads.get(key)
    if (running) return running
    const begun = begin(place, digest)
    downloads.set(key, begun)
    begun.then(
      (each) =>
        keep(place, digest, each).catch((err) =>
          log.warn({ err: asError(err).message, blob: key }, 'mirror: blob not kept'),
        ),
      () => downloads.delete(key),
    )
    return begun
  }

  async function begin({ source, name }: Place, digest: string): Promise<Download> {
    await requireDiskRoom(folder).catch((error) => {
      throw new MirrorRefusal(503, 'UNAVAILABLE', asError(error).message)
    })
    const { host } = source
    const request = { method: 'GET' as const, name, path: `blobs/${digest}`, signal }
    const reply = await remoteOf(host)(request).catch((error) => {
      throw unreachable(host, asError(error))
    })
    if (reply.statusCode === 200) {
      return startDownload(reply, { digest, file: join(folder, createId()) })
    }
    reply.destroy()
    throw refusalOf(reply, { host, name, what: 'blob' })
  }

  async function keep({ repo }: Place, digest: string, each: Download): Promise<void> {
    try {
      const bytes = await each.whole
      await store.putBlob(repo, { digest, bytes, body: Readable.from(each.read()) })
    } finally {
      downloads.delete(`${repo}@${digest}`)
      // After those who have found it there until now have got hold of it.
      setImmediate(each.release)
    }
  }

  async function blob(
    req: IncomingMessage,
    res: ServerResponse,
    route: Extract<RepoRoute, { kind: 'blob' }>,
  ): Promise<void> {
    const { repo, digest } = route
    const place = placeOf(repo)
    requireMirrored(place)
    requireSha256(digest, 'BLOB_UNKNOWN')
    if (await store.hasBlob(repo, digest)) {
      return forward(upstream, req, res, { path: routePath(route), keepsContentType: false })
    }
    const coming = await download(place, digest)
    coming.hold()
    try {
      res.writeHead(200, {
        'content-type': 'application/octet-stream',
        ...(coming.bytes === undefined ? {} : { 'content-length': coming.bytes }),
        'docker-content-digest': digest,
      })
      if (req.method === 'HEAD') res.end()
      else await pipeline(Readable.from(coming.read()), res)
    } finally {
      coming.release()
    }
  }

  return {
    hosts: sources.map(({ host }) => host),

    async serve(req, res, route, buildId) {
      req.resume()
      try {
        if (route.kind === 'manifest') {
          await manifest(req, res, { route, ...(buildId ? { buildId } : {}) })
        } else if (route.kind === 'blob') await blob(req, res, route)
        else throw new MirrorRefusal(404, 'UNSUPPORTED', 'a mirror gives manifests and blobs')
      } catch (error) {
        if (!(error instanceof MirrorRefusal)) throw error
        if (error.retryAfter !== undefined) res.setHeader('retry-after', error.retryAfter)
        replyOci(res, error.status, error.code, error.message)
      }
    },

    gives(repo) {
      const place = findPlace(repo)
      return place !== undefined && isMirrored(place.source, place.name)
    },

    /** Ends what is on its way. */
    stop: () => stopping.abort(new Error('the server stops')),
  }
}

function requireSha256(reference: string, code: OciCode): void {
  if (!reference.includes(':') || /^sha256:[0-9a-f]{64}$/.test(reference)) return
  throw new MirrorRefusal(404, code, 'a mirror has what is named by sha256 digests')
}
