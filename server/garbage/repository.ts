// One repository as it is on disk: what of it is referred to, and what may go. Nothing is changed here.
import { join } from 'node:path'
import type { RegistryStorage } from '../registry/own/storage.ts'
import { type Entry, entriesIn, foldersIn, modifiedMs, textOf } from './folders.ts'
import type { ReadManifest } from './manifests.ts'

/** Older than these, in ms since 1970, and nobody counts on it any more. */
export interface Cutoffs {
  /** Links of blobs that no manifest of the repository names. */
  link: number
  /** Manifests that no tag names, where those go by themselves. */
  untagged: number
  upload: number
}

export interface Examined {
  name: string
  /** Its own folder; repositories lie below each other. */
  folder: string
  /** Manifests there are. */
  revisions: Entry[]
  /** Of them those that go. */
  untagged: Entry[]
  /** Links of blobs there are. */
  links: Entry[]
  /** Of them those that no manifest names; whether they are old enough is looked at last. */
  unnamed: Entry[]
  /** What a removal that was broken off has left. */
  husks: Entry[]
  /** Folders of uploads that nobody goes on with. */
  uploads: string[]
  uploadsLeft: number
}

export interface ExamineOptions {
  storage: RegistryStorage
  readManifest: ReadManifest
  cutoffs: Cutoffs
  /** Whether manifests go that no tag names. */
  dropsUntagged: boolean
  /** What is known already: these were there a moment ago. */
  before?: Pick<Examined, 'revisions' | 'links'>
}

export async function examine(name: string, options: ExamineOptions): Promise<Examined> {
  const { storage, cutoffs, before } = options
  const folder = storage.repository(name)
  const husks: Entry[] = []
  const all = await entriesIn(join(folder, '_manifests/revisions'))
  const revisions = await linked(all, before?.revisions, husks)
  const kept = await keptManifests(folder, revisions, options)
  const named = new Set<string>()
  for (const digest of kept) {
    for (const each of (await options.readManifest(digest)).digests) named.add(each)
  }
  const links = await linked(await entriesIn(join(folder, '_layers')), before?.links, husks)
  const uploads = await idleUploads(join(folder, '_uploads'), cutoffs.upload)
  return {
    name,
    folder,
    revisions,
    untagged: revisions.filter(({ digest }) => !kept.has(digest)),
    links,
    unnamed: links.filter(({ digest }) => !named.has(digest)),
    husks,
    ...uploads,
  }
}

/** Those that have their file `link`; what has none is a husk. */
async function linked(
  entries: readonly Entry[],
  before: readonly Entry[] | undefined,
  husks: Entry[],
): Promise<Entry[]> {
  // What has gone since is taken as still there: then more is kept.
  const known = new Set(before?.map(({ digest }) => digest))
  const found: Entry[] = []
  for (const entry of entries) {
    const isThere =
      known.has(entry.digest) || (await modifiedMs(join(entry.folder, 'link'))) !== undefined
    if (isThere) found.push(entry)
    else husks.push(entry)
  }
  return found
}

/** All; or those with a tag, the young ones, what these refer to, and what refers to them. */
async function keptManifests(
  folder: string,
  revisions: readonly Entry[],
  { readManifest, dropsUntagged, cutoffs }: ExamineOptions,
): Promise<Set<string>> {
  if (!dropsUntagged) return new Set(revisions.map(({ digest }) => digest))
  const there = new Set(revisions.map(({ digest }) => digest))
  const referrers = new Map<string, string[]>()
  const open = [...(await taggedIn(folder))]
  for (const { digest, folder: own } of revisions) {
    const { subject } = await readManifest(digest)
    if (subject) referrers.set(subject, [...(referrers.get(subject) ?? []), digest])
    const seenAt = await modifiedMs(join(own, 'link'))
    if (seenAt !== undefined && seenAt >= cutoffs.untagged) open.push(digest)
  }
  const kept = new Set<string>()
  for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
    if (kept.has(digest) || !there.has(digest)) continue
    kept.add(digest)
    open.push(...(await readManifest(digest)).digests, ...(referrers.get(digest) ?? []))
  }
  return kept
}

async function taggedIn(folder: string): Promise<Set<string>> {
  const tags = join(folder, '_manifests/tags')
  const found = new Set<string>()
  for (const tag of await foldersIn(tags)) {
    const digest = await textOf(join(tags, tag, 'current/link'))
    if (digest) found.add(digest.trim())
  }
  return found
}

async function idleUploads(
  path: string,
  cutoff: number,
): Promise<Pick<Examined, 'uploads' | 'uploadsLeft'>> {
  const uploads: string[] = []
  const ids = await foldersIn(path)
  for (const id of ids) {
    const folder = join(path, id)
    const files = [folder, join(folder, 'startedat'), join(folder, 'data')]
    const times = await Promise.all(files.map(modifiedMs))
    if (times.every((time) => time === undefined || time < cutoff)) uploads.push(folder)
  }
  return { uploads, uploadsLeft: ids.length - uploads.length }
}
