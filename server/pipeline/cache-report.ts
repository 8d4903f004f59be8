// What a build took from cache: how many of its steps, and from where, for its provenance and its log.
import { type CacheUse, DOCKERFILE_STEP } from '../../agent/protocol.ts'
import type { BuilderDisk } from '../builders/disks.ts'
import type { NewEvent } from '../builds/event-store.ts'
import type { BuildRequest } from '../builds/request-schema.ts'
import type { CacheFacts } from '../builds/schema.ts'
import { type CachePlan, cacheUsed } from '../cache/plan.ts'
import { STEPS_COUNTED_MAX } from '../limits.ts'

const FROM = {
  builder: "the builder's disk",
  registry: 'the registry',
  mixed: "the builder's disk and the registry",
}

export interface CacheAtHand {
  use: CacheUse | undefined
  /** The disk that the build really had. */
  disk: Pick<BuilderDisk, 'isWarm'> | undefined
}

export function createCacheReport(plan: CachePlan) {
  /** The Dockerfile's, by number: whether it was cached, as it was told last. What else BuildKit does never is. */
  const steps = new Map<number, boolean>()

  return {
    saw(event: NewEvent): void {
      if (event.type !== 'step') return
      const { n, name, state } = event.step
      if (!DOCKERFILE_STEP.test(name)) return
      if (steps.has(n) || steps.size < STEPS_COUNTED_MAX) steps.set(n, state === 'cached')
    },

    facts({ use, disk }: CacheAtHand): CacheFacts {
      const cached = [...steps.values()].filter(Boolean).length
      const used = cacheUsed(plan, use)
      const isFound = used.imported.length > 0
      return {
        source: cached === 0 ? 'none' : sourceOf(disk?.isWarm ?? false, isFound),
        steps_total: steps.size,
        steps_cached: cached,
        ...used,
      }
    },
  }
}

export type CacheReport = ReturnType<typeof createCacheReport>

/** BuildKit does not tell where a step comes from, so it is known only when there is one place. */
function sourceOf(isWarm: boolean, isFound: boolean): CacheFacts['source'] {
  if (isWarm) return isFound ? 'mixed' : 'builder'
  return isFound ? 'registry' : 'none'
}

/** Nothing is said of a build without steps. */
export function cacheLine(
  { source, steps_total: total, steps_cached: cached }: CacheFacts,
  { no_cache: isCold }: Pick<BuildRequest, 'no_cache'>,
): string | undefined {
  if (total === 0) return undefined
  if (isCold) return 'Cache: not used, as asked for (no_cache)'
  const from = source === 'none' ? '' : `, from ${FROM[source]}`
  return `Cache: ${cached} of ${total} steps${from}`
}
