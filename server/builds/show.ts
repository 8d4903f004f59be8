// A row as the API shows it: seed 000's fields and ours; what is not known is absent.
import { between, phasesOf } from './phases.ts'
import type { Build, BuildAttempt, StepsSummary } from './schema.ts'
import type { BuildRow } from './store.ts'

/** What is not in the row itself. */
export interface Shown {
  position?: number | undefined
  waitReason?: string | undefined
  steps?: StepsSummary | undefined
  attempts?: BuildAttempt[] | undefined
}

export function toPublic(row: BuildRow, registryName: string, shown: Shown = {}): Build {
  const optional = {
    queue_position: shown.position,
    priority: row.priority === 0 ? undefined : row.priority,
    queue_reason: shown.waitReason,
    image_digest: row.status === 'ready' ? row.imageDigest : undefined,
    image_ref: hasImage(row) ? imageRef(row, registryName) : undefined,
    published_as:
      hasImage(row) && row.publishedAs ? `${registryName}/${row.publishedAs}` : undefined,
    image_expired_at: row.imageExpiredAt?.toISOString(),
    log_expired_at: row.logExpiredAt?.toISOString(),
    error: row.error,
    failure_class: row.failureClass,
    superseded_by: row.status === 'cancelled' ? row.supersededBy : undefined,
    provenance: row.provenance,
    app: row.app,
    ref: row.ref,
    commit: row.commit,
    repo_url: row.request.repo_url,
    pusher: row.pusher,
    tags: Object.keys(row.tags).length > 0 ? row.tags : undefined,
    builder_id: row.request.builder_id,
    builder_instance_id: row.builderInstance,
    attempts: shown.attempts?.length ? shown.attempts : undefined,
    phases: phasesOf(row),
    steps: shown.steps,
    started_at: row.startedAt?.toISOString(),
    completed_at: row.completedAt?.toISOString(),
    duration_ms: between(row.startedAt ?? row.createdAt, row.completedAt),
  }
  const present = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    id: row.id,
    status: row.status,
    attempt: row.attempt,
    created_at: row.createdAt.toISOString(),
    ...Object.fromEntries(present),
  }
}

function hasImage({ status, imageExpiredAt }: BuildRow): boolean {
  return status === 'ready' && imageExpiredAt === undefined
}

/** The name that was asked for, or the build's own. */
function imageRef({ id, request }: BuildRow, registryName: string): string {
  return `${registryName}/${request.image_name ?? `builds/${id}`}`
}
