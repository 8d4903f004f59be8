// What a garbage collection has done, as the API shows it.
import { z } from 'zod'
import type { Collected } from './collect.ts'

const count = (description: string) => z.int().nonnegative().meta({ description })
const ms = (description: string) => z.number().nonnegative().meta({ description })

const EXAMPLE = {
  repositories: 120,
  skipped: 0,
  manifests_removed: 14,
  links_removed: 310,
  uploads_removed: 1,
  blobs_before: 4200,
  blobs_after: 3900,
  bytes_freed: 9_120_331_776,
  stall_ms: 84.2,
  stall_max_ms: 11.6,
}

export const WireCollected = z
  .object({
    repositories: count('Repositories looked at.'),
    skipped: count('Of them those left as they are: something in them is damaged; see the log.'),
    manifests_removed: count('Manifests of caches and builds that no tag named.'),
    links_removed: count('Blobs that a repository no longer holds.'),
    uploads_removed: count('Uploads that nobody went on with.'),
    blobs_before: count('Blobs in the registry.'),
    blobs_after: count('Blobs in the registry.'),
    bytes_freed: count('Of the blobs that are gone.'),
    stall_ms: ms('For how long writes were held, all in all.'),
    stall_max_ms: ms('The longest of these moments.'),
  })
  .meta({ id: 'GarbageCollected', examples: [EXAMPLE] })

export function toWire(result: Collected): z.infer<typeof WireCollected> {
  const round = (value: number) => Math.round(value * 10) / 10
  return {
    repositories: result.repositories,
    skipped: result.skipped,
    manifests_removed: result.manifests,
    links_removed: result.links,
    uploads_removed: result.uploads,
    blobs_before: result.blobsBefore,
    blobs_after: result.blobsAfter,
    bytes_freed: result.bytesFreed,
    stall_ms: round(result.stallMs),
    stall_max_ms: round(result.stallMaxMs),
  }
}
