// One repository after the other: examined while it is in use, examined again and swept while writes are held.
// What stays is told to whoever looks after the data.
import { join } from 'node:path'
import type { RegistryStorage } from '../registry/own/storage.ts'
import { type Entry, modifiedMs } from './folders.ts'
import type { Holds } from './holds.ts'
import type { Linked } from './linked.ts'
import type { ReadManifest } from './manifests.ts'
import { type Cutoffs, type Examined, examine } from './repository.ts'
import { sweepRepository } from './sweep.ts'
import type { Trash } from './trash.ts'

export interface RepositoryCollectorOptions {
  storage: RegistryStorage
  readManifest: ReadManifest
  cutoffs: Cutoffs
  holds: Pick<Holds, 'hold'>
  linked: Pick<Linked, 'add'>
  trash: Trash
  batch: number
}

export function createRepositoryCollector(options: RepositoryCollectorOptions) {
  const { storage, readManifest, cutoffs, holds, linked, trash, batch } = options

  return async (name: string, dropsUntagged: boolean) => {
    const given = { storage, readManifest, cutoffs, dropsUntagged }
    const done = { manifests: 0, links: 0, uploads: 0 }
    const removed = new Set<string>()
    let found = await examine(name, given)
    for (let hasMore = await hasWork(found, cutoffs); hasMore; ) {
      const swept = await holds.hold(async () => {
        // Once more: what was pushed since counts.
        found = await examine(name, { ...given, before: without(found, removed) })
        return sweepRepository(found, { cutoffs, trash, batch })
      })
      for (const { folder } of [...swept.manifests, ...swept.links]) removed.add(folder)
      done.manifests += swept.manifests.length
      done.links += swept.links.length
      done.uploads += swept.uploads
      hasMore = swept.hasMore
      await trash.empty()
    }
    const { revisions, links } = without(found, removed)
    await linked.add([...revisions, ...links])
    return done
  }
}

async function hasWork(found: Examined, cutoffs: Cutoffs): Promise<boolean> {
  const { uploads, husks, untagged, unnamed, revisions, links, uploadsLeft } = found
  if (uploads.length + husks.length + untagged.length > 0) return true
  if (revisions.length + links.length + uploadsLeft === 0) return true
  for (const { folder } of unnamed) {
    const seenAt = await modifiedMs(join(folder, 'link'))
    if (seenAt === undefined || seenAt < cutoffs.link) return true
  }
  return false
}

function without(
  { revisions, links }: Examined,
  removed: ReadonlySet<string>,
): Pick<Examined, 'revisions' | 'links'> {
  const rest = (entries: readonly Entry[]) => entries.filter(({ folder }) => !removed.has(folder))
  return { revisions: rest(revisions), links: rest(links) }
}
