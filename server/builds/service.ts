// The rules around builds that callers meet: whose they are, what a caller sees of them, how they are cancelled.
import { may, type Principal } from '../auth/principal.ts'
import type { Db } from '../db/pool.ts'
import { AppError, notFound } from '../errors.ts'
import { joinSignals } from '../join-signals.ts'
import { CANCEL_DEADLINE_MS } from '../limits.ts'
import type { Queue } from '../queue/queue.ts'
import { readAttempts } from './attempts.ts'
import { connectionState, readConnections } from './connection-store.ts'
import type { BuildConnections } from './connections.ts'
import { statusAt } from './event-store.ts'
import type { BuildLog, EventPages } from './log.ts'
import type { Build, BuildAttempt, BuildStatus, BuildStep } from './schema.ts'
import { TERMINAL } from './schema.ts'
import { toPublic } from './show.ts'
import type { ShownConfig } from './shown-config.ts'
import { readSteps, summarize } from './steps.ts'
import type { BuildRow, BuildStore, ListQuery } from './store.ts'
import { untilStatus } from './wait.ts'

export interface BuildsOptions {
  db: Db
  store: BuildStore
  queue: Queue
  buildLog: BuildLog
  /** `host:port` under which people pull. */
  registryName: () => string
  cancelDeadlineMs?: number
}

export interface Wait {
  ms: number
  /** The status the caller knows; without it that of now. */
  status?: BuildStatus | undefined
  signal: AbortSignal
}

export type Builds = ReturnType<typeof createBuilds>

export function createBuilds(options: BuildsOptions) {
  const { db, store, queue, buildLog, registryName } = options
  const { cancelDeadlineMs = CANCEL_DEADLINE_MS } = options

  /** Another tenant's build is as unknown as one that never was. */
  async function own(principal: Principal, id: string): Promise<BuildRow> {
    const row = await store.get(id)
    if (!row || !maySee(principal, row.tenant)) throw notFound('build')
    return row
  }

  async function show(principal: Principal, row: BuildRow): Promise<Build> {
    const isQueued = row.status === 'queued'
    const [position, waitReason, steps, attempts] = await Promise.all([
      isQueued ? queue.position(row.id) : undefined,
      isQueued ? queue.waitReason() : undefined,
      hasOnlyItsFirstEvent(row) ? [] : readSteps(db, row.id),
      hasOnlyItsFirstEvent(row) ? [] : attemptsFor(principal, row.id),
    ])
    const ended = TERMINAL.has(row.status)
    const shown = { position, waitReason, steps: summarize(steps, { ended }), attempts }
    return toPublic(row, registryName(), shown)
  }

  /** Which machines there are is not for tenants. */
  async function attemptsFor(principal: Principal, id: string): Promise<BuildAttempt[]> {
    const attempts = await readAttempts(db, id)
    if (may(principal, 'build:admin')) return attempts
    return attempts.map(({ worker: _, ...attempt }) => attempt)
  }

  return {
    /** For whoever may see it. */
    show,

    async get(principal: Principal, id: string): Promise<Build> {
      return show(principal, await own(principal, id))
    },

    /** The build, once its status is another than the caller knows, or when the time is up. */
    async getChanged(principal: Principal, id: string, wait: Wait): Promise<Build> {
      const row = await own(principal, id)
      const known = wait.status ?? row.status
      const until = joinSignals([wait.signal], wait.ms)
      try {
        await untilStatus(buildLog, row, (status) => status !== known, until.signal)
      } finally {
        until.dispose()
      }
      return show(principal, await own(principal, id))
    },

    /** Those of the caller's tenant; only who may see others names another one. */
    async list(principal: Principal, { tenant, ...query }: ListQuery): Promise<Build[]> {
      if (tenant !== undefined && !maySee(principal, tenant)) {
        throw new AppError(
          'forbidden',
          `query tenant=${JSON.stringify(tenant)}: builds of another tenant need build:admin`,
        )
      }
      const found = await store.list({ ...query, tenant: tenant ?? principal.tenant })
      const queued = found.filter((row) => row.status === 'queued').map((row) => row.id)
      const positions = await queue.positions(queued)
      return found.map((row) => toPublic(row, registryName(), { position: positions.get(row.id) }))
    },

    async steps(principal: Principal, id: string): Promise<BuildStep[]> {
      await own(principal, id)
      return readSteps(db, id)
    },

    /** What the pod of its latest attempt was given. */
    async config(principal: Principal, id: string): Promise<ShownConfig> {
      const row = await own(principal, id)
      const config = await store.config(id)
      if (config) return config
      const why = TERMINAL.has(row.status)
        ? 'has no configuration: it ended before its pod was made'
        : 'has no configuration yet: it has not started, and its configuration is made when it does'
      throw new AppError('not_found', `build ${id} ${why}`)
    },

    /** One page of what it reached; without all that the build has promised there is none. */
    async connections(
      principal: Principal,
      id: string,
      { after, limit }: { after: number; limit: number },
    ): Promise<BuildConnections> {
      const { status, logExpiredAt } = await own(principal, id)
      if (logExpiredAt) {
        const when = logExpiredAt.toISOString()
        throw new AppError('not_found', `the connections of build ${id} were removed ${when}`)
      }
      const found = await readConnections(db, id, { after, limit: limit + 1 })
      const { stored, promised = 0 } = await connectionState(db, id)
      if (stored < promised) {
        const missing = `${promised} connection events were promised, ${stored} are there`
        throw new AppError('connections_incomplete', `build ${id}: ${missing}`)
      }
      const page = found.slice(0, limit)
      const last = page.at(-1)
      return {
        event_count: stored,
        // A worker that died has promised nothing of what it had stored.
        complete: TERMINAL.has(status) && stored <= promised,
        network_connections: page,
        ...(found.length > limit && last ? { next_after: last.n } : {}),
      }
    },

    /** Resolves when the build is cancelled and its VM gone; a finished build is a conflict. */
    async cancel(principal: Principal, id: string, signal: AbortSignal): Promise<void> {
      await own(principal, id)
      const outcome = await queue.cancel(id)
      if (outcome === 'cancelled') return
      const end = outcome === 'stopping' ? await endOf(id, signal) : await own(principal, id)
      if (end?.status === 'cancelled') return
      if (end) throw new AppError('conflict', `build ${id} is already complete (${end.status})`)
      const notYet = signal.aborted
        ? 'this server stops before its worker has said that it has stopped it'
        : `its worker has not stopped it within ${cancelDeadlineMs / 1000} s`
      throw new AppError(
        'cancel_pending',
        `build ${id} will be cancelled, but ${notYet}; ask again`,
      )
    },

    /** What there is of the build's events; checks ownership before the first one is read. */
    async events(
      principal: Principal,
      id: string,
      { afterSeq, signal }: { afterSeq: number; signal: AbortSignal },
    ): Promise<EventPages> {
      const { lastSeq } = await own(principal, id)
      return buildLog.until(id, afterSeq, lastSeq, signal)
    },

    /**
     * The build's events to its end, and the status it had where the reader resumes, so that a status is what
     * a reader gets first. undefined when it is over and nothing follows that number.
     */
    async follow(
      principal: Principal,
      id: string,
      { afterSeq, signal }: { afterSeq: number; signal: AbortSignal },
    ): Promise<{ resumedIn: BuildStatus | undefined; pages: EventPages } | undefined> {
      const { status, lastSeq } = await own(principal, id)
      if (TERMINAL.has(status) && afterSeq >= lastSeq) return undefined
      const resumedIn = afterSeq > 0 ? await statusAt(db, id, afterSeq) : undefined
      return { resumedIn, pages: buildLog.pages(id, afterSeq, signal) }
    },
  }

  async function endOf(id: string, signal: AbortSignal): Promise<BuildRow | undefined> {
    const until = joinSignals([signal], cancelDeadlineMs)
    try {
      return await queue.waitDone(id, until.signal)
    } catch (error) {
      if (until.signal.aborted) return undefined
      throw error
    } finally {
      until.dispose()
    }
  }
}

const hasOnlyItsFirstEvent = ({ lastSeq }: BuildRow) => lastSeq === 1

function maySee(principal: Principal, tenant: string): boolean {
  return tenant === principal.tenant || may(principal, 'build:admin')
}
