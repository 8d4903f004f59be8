// A row as the API shows it: seed 000's fields and ours; what is not known is absent.
import type { Build, Phases, StepsSummary } from './schema.ts'
import type { BuildRow } from './store.ts'

/** What is not in the row itself. */
export interface Shown {
  position?: number | undefined
  steps?: StepsSummary | undefined
}

export function toPublic(row: BuildRow, registryName: string, shown: Shown = {}): Build {
  const optional = {
    queue_position: shown.position,
    image_digest: row.status === 'ready' ? row.imageDigest : undefined,
    image_ref: row.status === 'ready' ? `${registryName}/builds/${row.id}` : undefined,
    error: row.error,
    failure_class: row.failureClass,
    provenance: row.provenance,
    app: row.app,
    ref: row.ref,
    commit: row.commit,
    pusher: row.pusher,
    tags: Object.keys(row.tags).length > 0 ? row.tags : undefined,
    builder_id: row.request.builder_id,
    builder_instance_id: row.builderInstance,
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

function phasesOf(row: BuildRow): Phases | undefined {
  const built = row.pushingAt ?? row.completedAt
  const phases = {
    queue_ms: between(row.createdAt, row.claimedAt),
    vm_ms: between(row.claimedAt, row.helloAt),
    build_ms: row.helloAt ? between(row.helloAt, built) : undefined,
    push_ms: between(row.pushingAt, row.resultAt),
  }
  const present = Object.entries(phases).filter(([, value]) => value !== undefined)
  return present.length > 0 ? Object.fromEntries(present) : undefined
}

function between(from: Date | undefined, to: Date | undefined): number | undefined {
  return from && to ? Math.max(0, to.getTime() - from.getTime()) : undefined
}
