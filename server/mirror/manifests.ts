// Manifests of a mirrored registry: by digest they never change; a tag is asked for again when what is known of it
// is too old, and what is stored does when the registry does not answer.
import type { IncomingMessage } from 'node:http'
import { asError } from '../errors.ts'
import { MANIFEST_BYTES_MAX, MIRROR_TAG_TTL_MS, MIRROR_TAGS_KNOWN_MAX } from '../limits.ts'
import { digestOf } from '../registry/digest.ts'
import { MANIFEST_TYPES } from '../registry/exchange.ts'
import type { StoredManifest } from '../registry/manifests.ts'
import { isDigest } from '../registry/names.ts'
import type { Log } from '../telemetry/log.ts'
import { type Asked, MirrorRefusal, refusalOf, unreachable } from './answers.ts'
import { readReply } from './body.ts'
import type { Remote } from './remote.ts'
import type { MirrorStore } from './store.ts'

/** `stale`: stored, and the registry could not be asked whether it is still so. */
export type Origin = 'stored' | 'fetched' | 'stale'

export interface FoundManifest extends StoredManifest {
  origin: Origin
  /** Of what is stale. */
  why?: string
}

export interface ManifestQuestion {
  host: string
  /** `library/alpine` */
  name: string
  /** Where it is kept: `mirror/docker.io/library/alpine`. */
  repo: string
  reference: string
}

export interface ManifestsOptions {
  store: Pick<MirrorStore, 'manifest' | 'tagged' | 'putManifest'>
  remoteOf(host: string): Remote
  signal: AbortSignal
  log: Log
  tagTtlMs?: number
}

/** Rejects with MirrorRefusal. */
export type FindManifest = (question: ManifestQuestion) => Promise<FoundManifest>

export function createManifests(options: ManifestsOptions): FindManifest {
  const { store, remoteOf, signal, log, tagTtlMs = MIRROR_TAG_TTL_MS } = options
  const asking = new Map<string, Promise<FoundManifest>>()
  /** When a tag was last found to be as it is stored, by the monotonic clock. */
  const checked = new Map<string, number>()

  async function ask(question: ManifestQuestion, method: 'GET' | 'HEAD', reference: string) {
    const { host, name } = question
    const path = `manifests/${reference}`
    const request = { method, name, path, accept: MANIFEST_TYPES, signal }
    const reply = await remoteOf(host)(request).catch((error) => {
      throw unreachable(host, asError(error))
    })
    if (reply.statusCode === 200) return reply
    reply.destroy()
    const asked: Asked = { host, name, what: 'manifest' }
    throw refusalOf(reply, asked)
  }

  async function fetchManifest(question: ManifestQuestion, reference: string) {
    const { host, name } = question
    const reply = await ask(question, 'GET', reference)
    const body = await readReply(reply, MANIFEST_BYTES_MAX).catch((error) => {
      throw unreachable(host, asError(error))
    })
    const digest = digestOf(body)
    const said = isDigest(reference) ? reference : saidDigest(reply)
    if (said?.startsWith('sha256:') && said !== digest) {
      const message = `${host} gave ${name}@${said} with the digest ${digest}`
      throw new MirrorRefusal(503, 'UNAVAILABLE', message)
    }
    const type = (reply.headers['content-type'] ?? '').split(';', 1)[0]!.trim()
    return { digest, type, body }
  }

  async function byDigest(question: ManifestQuestion): Promise<FoundManifest> {
    const { repo, reference } = question
    const stored = await store.manifest(repo, reference)
    if (stored) return { ...stored, origin: 'stored' }
    const fetched = await fetchManifest(question, reference)
    await keep(repo, fetched)
    return { ...fetched, origin: 'fetched' }
  }

  /** Whoever asked for it gets it all the same when it can't be kept. */
  async function keep(repo: string, manifest: StoredManifest, tag?: string): Promise<void> {
    await store.putManifest(repo, manifest, tag).catch((error) => {
      const { digest } = manifest
      log.warn({ err: asError(error).message, repo, digest }, 'mirror: manifest not kept')
    })
  }

  async function byTag(question: ManifestQuestion): Promise<FoundManifest> {
    const { repo, reference: tag } = question
    const key = `${repo}:${tag}`
    const stored = await store.tagged(repo, tag)
    const last = checked.get(key)
    if (stored && last !== undefined && performance.now() - last < tagTtlMs) {
      return { ...stored, origin: 'stored' }
    }
    try {
      const found = await renew(question, stored)
      if (checked.size >= MIRROR_TAGS_KNOWN_MAX) checked.clear()
      checked.set(key, performance.now())
      return found
    } catch (error) {
      if (!stored || !(error instanceof MirrorRefusal && error.isPassing)) throw error
      return { ...stored, origin: 'stale', why: error.message }
    }
  }

  /** Asks for the digest first: HEAD costs nothing of a registry's limit of pulls. */
  async function renew(
    question: ManifestQuestion,
    stored: StoredManifest | undefined,
  ): Promise<FoundManifest> {
    const { repo, reference: tag } = question
    if (stored) {
      const head = await ask(question, 'HEAD', tag)
      head.resume()
      if (saidDigest(head) === stored.digest) return { ...stored, origin: 'stored' }
    }
    const fetched = await fetchManifest(question, tag)
    await keep(repo, fetched, tag)
    return { ...fetched, origin: 'fetched' }
  }

  return (question) => {
    const { repo, reference } = question
    const key = `${repo}@${reference}`
    const running = asking.get(key)
    if (running) return running
    const found = (isDigest(reference) ? byDigest : byTag)(question).finally(() =>
      asking.delete(key),
    )
    asking.set(key, found)
    return found
  }
}

function saidDigest({ headers }: IncomingMessage): string | undefined {
  const digest = headers['docker-content-digest']
  return typeof digest === 'string' ? digest : undefined
}
