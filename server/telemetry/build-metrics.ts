// What is measured of builds. Counters and histograms are this process's own: it counts the changes of status
// it has written itself, once they are committed, so the sum over all processes has each build once.
import type { Meter } from '@opentelemetry/api'
import { phasesOf } from '../builds/phases.ts'
import { FailureClass, TERMINAL } from '../builds/schema.ts'
import type { BuildRow } from '../builds/store.ts'
import type { EgressEvent } from '../egress/events.ts'

const SECONDS = { unit: 's' }
const BUILD_BUCKETS = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600,
]
const PHASE_BUCKETS = [0.05, 0.1, 0.25, 0.5, ...BUILD_BUCKETS]
const BOOT_BUCKETS = [0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120]
const LAG_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export type BuildMetrics = ReturnType<typeof createBuildMetrics>

export function createBuildMetrics(meter: Meter) {
  const histogram = (name: string, description: string, explicitBucketBoundaries: number[]) =>
    meter.createHistogram(name, { ...SECONDS, description, advice: { explicitBucketBoundaries } })

  const duration = histogram(
    'hypeman_build_duration_seconds',
    'Finished builds: from the first claim (or, never claimed, the queueing) to the end',
    BUILD_BUCKETS,
  )
  const total = meter.createCounter('hypeman_builds_total', {
    description: 'Finished builds by status, failure class and where they came from',
  })
  const requeued = meter.createCounter('hypeman_builds_requeued_total', {
    description: 'Builds given back to the queue for another attempt',
  })
  const phase = histogram(
    'hypeman_build_phase_duration_seconds',
    'Phases of finished builds, of the last attempt',
    PHASE_BUCKETS,
  )
  const queueWait = histogram(
    'hypeman_build_queue_wait_seconds',
    'From queueing to the first claim',
    PHASE_BUCKETS,
  )
  const boot = histogram(
    'hypeman_vm_boot_seconds',
    'From the start of a VM to the first word of its agent',
    BOOT_BUCKETS,
  )
  const lag = histogram(
    'hypeman_log_lag_seconds',
    'From the writing of a build event to its hand-over to a live follower; the oldest of each batch',
    LAG_BUCKETS,
  )
  const followers = meter.createUpDownCounter('hypeman_event_followers', {
    description: 'Followers of build events connected to this process',
  })

  const egress = meter.createCounter('hypeman_egress_connections_total', {
    description: 'Connections that builds asked for, by what became of them',
  })
  const addEnd = (n: number, status: string, failureClass: string, origin: string) =>
    total.add(n, { status, failure_class: failureClass, origin })
  // A counter that is there before its first event has a rate from its first event on.
  for (const origin of ['push', 'api']) {
    for (const status of ['ready', 'cancelled']) addEnd(0, status, '', origin)
    for (const failureClass of FailureClass.options) addEnd(0, 'failed', failureClass, origin)
  }

  return {
    /** A build has got another status, and this is committed. */
    moved(build: BuildRow): void {
      if (build.status === 'queued') requeued.add(1)
      if (!TERMINAL.has(build.status) || build.completedAt === undefined) return
      const { status, failureClass } = build
      addEnd(1, status, failureClass ?? '', build.pushId === undefined ? 'api' : 'push')
      const since = build.startedAt ?? build.createdAt
      duration.record(seconds(build.completedAt.getTime() - since.getTime()), { status })
      for (const [name, ms] of Object.entries(phasesOf(build) ?? {})) {
        if (ms !== undefined) phase.record(seconds(ms), { phase: name.replace(/_ms$/, '') })
      }
    },

    /** A worker has taken a build; a later attempt has not waited since its queueing. */
    claimed(build: BuildRow): void {
      if (build.attempt > 1 || !build.claimedAt) return
      queueWait.record(seconds(build.claimedAt.getTime() - build.createdAt.getTime()))
    },

    booted(runner: string, ms: number): void {
      boot.record(seconds(ms), { runner })
    },

    egress({ function: what }: EgressEvent): void {
      if (what === 'tcp_close') return
      const outcomes = {
        tcp_connect: 'connected',
        egress_refused: 'refused',
        egress_failed: 'failed',
      }
      egress.add(1, { outcome: outcomes[what] })
    },

    /** Reading of a live log; see builds/log.ts. */
    follow: {
      opened: () => followers.add(1),
      closed: () => followers.add(-1),
      delivered: (lagMs: number) => lag.record(seconds(lagMs)),
    },
  }
}

/** Clocks of two machines may differ by a little; no duration is negative. */
function seconds(ms: number): number {
  return Math.max(0, ms) / 1000
}
