// Which images of a group (an app, or what a tenant has uploaded) go: decided from facts alone. The clock is
// the database's, and comes with the facts.
import { IMAGE_PULLED_KEEP_HOURS } from '../limits.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

export interface ImageFacts {
  /** Of its build. */
  id: string
  /** What the image is the latest of: a branch, a published name; undefined: of nothing. */
  line: string | undefined
  /** The registry's tag of its branch is on it. */
  isBranchImage: boolean
  createdAt: Date
  completedAt: Date
  /** When it was pulled last, as far as known. */
  pulledAt: Date | undefined
}

/** A rule that is absent removes nothing. */
export interface ImagePolicy {
  /** The newest so many stay. */
  keepImages: number | undefined
  /** Older ones go, also of those. */
  maxAgeDays: number | undefined
}

export interface ImageGroup {
  images: readonly ImageFacts[]
  policy: ImagePolicy
  /** Lines that are no more, as a deleted branch: the last image of one is like any other. */
  endedLines: ReadonlySet<string>
  now: Date
}

export interface ExpiredImage {
  id: string
  /** One clause. */
  reason: string
}

/** Oldest first. The newest image of each line stays, and one that was pulled a short while ago. */
export function expiredImages({ images, policy, endedLines, now }: ImageGroup): ExpiredImage[] {
  const newestFirst = [...images].sort(byAge)
  const lines = new Set<string>()
  const expired: ExpiredImage[] = []
  for (const [rank, image] of newestFirst.entries()) {
    const { id, line, pulledAt } = image
    const isLive = line !== undefined && !endedLines.has(line)
    const isLatest = isLive && (image.isBranchImage || !lines.has(line))
    if (line !== undefined) lines.add(line)
    const reason = reasonToGo(image, rank, { policy, now })
    if (reason === undefined || isLatest || isRecent(pulledAt, now)) continue
    expired.push({ id, reason })
  }
  return expired.reverse()
}

function reasonToGo(
  { completedAt }: ImageFacts,
  rank: number,
  { policy: { keepImages, maxAgeDays }, now }: Pick<ImageGroup, 'policy' | 'now'>,
): string | undefined {
  if (maxAgeDays !== undefined && now.getTime() - completedAt.getTime() > maxAgeDays * DAY_MS) {
    return `older than ${maxAgeDays} days`
  }
  if (keepImages !== undefined && rank >= keepImages) return `not among the last ${keepImages}`
  return undefined
}

function isRecent(pulledAt: Date | undefined, now: Date): boolean {
  if (pulledAt === undefined) return false
  return now.getTime() - pulledAt.getTime() < IMAGE_PULLED_KEEP_HOURS * HOUR_MS
}

function byAge(a: ImageFacts, b: ImageFacts): number {
  return b.createdAt.getTime() - a.createdAt.getTime() || (a.id < b.id ? 1 : -1)
}
