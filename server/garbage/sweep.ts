// Takes out of one repository what examine() found, in one turn of the event loop: what readers were told a
// moment ago is looked at in the same turn. Called while no write is under way.
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Entry, modifiedMsNow, removeIfEmpty } from './folders.ts'
import type { Cutoffs, Examined } from './repository.ts'
import type { Trash } from './trash.ts'

export interface Swept {
  manifests: Entry[]
  links: Entry[]
  uploads: number
  /** There is more to take out. */
  hasMore: boolean
}

export interface SweepOptions {
  cutoffs: Cutoffs
  trash: Trash
  /** At most so much at once. */
  batch: number
}

export function sweepRepository(found: Examined, options: SweepOptions): Swept {
  const { cutoffs, trash } = options
  let left = options.batch
  const take = <T>(items: readonly T[], remove: (item: T) => void): T[] => {
    const taken = items.slice(0, Math.max(0, left))
    left -= taken.length
    for (const item of taken) remove(item)
    return taken
  }
  const uploads = take(found.uploads, trash.putAside)
  const husks = take(found.husks, ({ folder }) => trash.putAside(folder))
  const untagged = found.untagged.filter((entry) => isOld(entry, cutoffs.untagged))
  if (untagged.length < found.untagged.length) {
    // Somebody has just asked for one of them: it stays, and so does what it refers to.
    return { manifests: [], links: [], uploads: uploads.length, hasMore: true }
  }
  const manifests = take(untagged, (entry) => removeManifest(found.folder, entry, trash))
  const unnamed = found.unnamed.filter((entry) => isOld(entry, cutoffs.link))
  const links = take(unnamed, ({ folder }) => trash.putAside(folder))
  const hasMore =
    uploads.length < found.uploads.length ||
    husks.length < found.husks.length ||
    manifests.length < untagged.length ||
    links.length < unnamed.length
  if (!hasMore && isEmpty(found, manifests.length, links.length))
    removeRepository(found.folder, trash)
  return { manifests, links, uploads: uploads.length, hasMore }
}

function isOld({ folder }: Entry, cutoff: number): boolean {
  const seenAt = modifiedMsNow(join(folder, 'link'))
  return seenAt === undefined || seenAt < cutoff
}

function isEmpty(found: Examined, manifests: number, links: number): boolean {
  const { revisions, links: all, uploadsLeft } = found
  return revisions.length === manifests && all.length === links && uploadsLeft === 0
}

function removeManifest(repository: string, { digest, folder }: Entry, trash: Trash): void {
  const tags = join(repository, '_manifests/tags')
  const path = digest.replace(':', '/')
  for (const tag of namesIn(tags)) trash.putAside(join(tags, tag, 'index', path))
  trash.putAside(folder)
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** With the folders above that held nothing else, up to the first part of the name. */
function removeRepository(folder: string, trash: Trash): void {
  for (const part of ['_manifests', '_layers', '_uploads']) trash.putAside(join(folder, part))
  for (let path = folder; removeIfEmpty(path); ) path = dirname(path)
}
