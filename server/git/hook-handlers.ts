// What the hooks do on the server: admission before the refs move, the gate if the push has one, intake and
// following afterwards.
import { createId } from '@paralleldrive/cuid2'
import { effectiveSettings } from '../apps/schema.ts'
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import type { BuildStore } from '../builds/store.ts'
import { isDatabaseGone, untilDatabase } from '../db/gone.ts'
import type { Listener } from '../db/listen.ts'
import { AppError, asError } from '../errors.ts'
import { joinSignals } from '../join-signals.ts'
import { DATABASE_AWAY_MAX_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Admission } from './admission.ts'
import { type Classified, classify, type RefRules } from './classify.ts'
import { type BuildFollower, createBuildFollower } from './follow-build.ts'
import { createGateHandler } from './gate-handler.ts'
import type { Gates } from './gates.ts'
import type { HookAnswer, HookCall, HookHandlers } from './hook-lines.ts'
import type { Intake } from './intake.ts'
import type { LivePushes } from './live.ts'
import { receivingLines, storedLines, unqueuedLines } from './push-lines.ts'
import { unknownLines } from './push-options.ts'
import type { MovedRef } from './push-store.ts'
import type { Repositories } from './repositories.ts'
import { sanitizeLine } from './sanitize.ts'

export interface HookHandlersOptions {
  admission: Admission
  intake: Intake
  gates: Gates
  live: Pick<LivePushes, 'takingIn'>
  repositories: Pick<Repositories, 'tip'>
  store: Pick<BuildStore, 'get'>
  listener: Pick<Listener, 'on'>
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  /** Why queued builds wait, if not for their turn. */
  waitReason(): Promise<string | undefined>
  show(buildId: string): Promise<Build>
  baseUrl: () => string
  log: Log
  heartbeatMs?: number
}

const STOPPING = { reason: 'the build server stops', hint: 'push again when it is back' }
const DATABASE_AWAY = 'warning: the database of the build server does not answer; waiting for it'

/** A build that was recorded, and how much of it has been shown. */
interface Shown {
  buildId: string
  follower: BuildFollower
  isOpened: boolean
}

export function createHookHandlers(options: HookHandlersOptions): HookHandlers {
  const { admission, intake, gates, live, log } = options
  const gate = createGateHandler({ ...options, follower })

  async function preReceive({ push, refs, print, stopping }: HookCall): Promise<HookAnswer> {
    await print([...receivingLines(push.app.name, refs), ...unknownLines(push.options)])
    const refusal = stopping.aborted ? STOPPING : await admission(push, refs)
    if (!refusal) return { exit: 0 }
    await print([`error: ${refusal.reason}`, `hint: ${refusal.hint}`])
    return { exit: 1 }
  }

  async function postReceive(call: HookCall): Promise<HookAnswer> {
    const rules = effectiveSettings(call.push.app.settings)
    // Recorded and queued first, all of them, whether anybody watches or not; only then is one followed.
    const builds: Shown[] = []
    await live.takingIn(call.push, async () => {
      for (const moved of call.refs.map((update) => classify(update, rules))) {
        const shown = await takeIn(call, moved, rules)
        if (shown) builds.push(shown)
      }
    })
    await follow(call, builds)
    return { exit: 0 }
  }

  async function takeIn(
    call: HookCall,
    moved: Classified,
    rules: RefRules,
  ): Promise<Shown | undefined> {
    const { app, principal } = call.push
    const { update } = moved
    const ref = { app, update, pusher: principal.user, source: 'push' as const }
    try {
      if (moved.kind === 'unchanged') return undefined
      if (moved.kind === 'build') {
        const { shown, warnings } = await once(call, queueing(call, ref))
        await call.print(warnings.map((text) => `warning: ${sanitizeLine(text)}`))
        return shown
      }
      await once(call, () => intake.record(ref))
      await call.print(storedLines(moved, rules))
    } catch (error) {
      if (!(error instanceof AppError)) {
        log.error({ err: asError(error), app: app.name, ref: update.ref }, 'intake failed')
      }
      const unbuilt = { app: app.name, ref: update.ref, commit: update.newSha }
      await call.print(unqueuedLines(error, unbuilt, { baseUrl: options.baseUrl() }))
    }
    return undefined
  }

  /** The ref has moved, and whoever pushed it will be told so: a database that restarts is waited for. */
  function once<T>({ print, stopping }: HookCall, work: () => Promise<T>): Promise<T> {
    let isTold = false
    const tried = () =>
      work().catch(async (error) => {
        if (isDatabaseGone(error) && !isTold) await print([DATABASE_AWAY])
        isTold = true
        throw error
      })
    const over = joinSignals([stopping], DATABASE_AWAY_MAX_MS)
    return untilDatabase(tried, over.signal).finally(over.dispose)
  }

  /** May be called again: what has been queued by a call whose answer was lost is found by its id. */
  function queueing(
    call: HookCall,
    ref: MovedRef,
  ): () => Promise<{ shown: Shown; warnings: string[] }> {
    const { options: given, gated } = call.push
    const id = createId()
    let isRepeated = false
    return async () => {
      const passed = gated.get(ref.update.ref)
      if (passed && (await gates.open(passed.buildId, ref))) {
        return { shown: { ...passed, isOpened: true }, warnings: [] }
      }
      const known = isRepeated ? await options.store.get(id) : undefined
      isRepeated = true
      const { build, warnings } = known
        ? { build: known, warnings: [] }
        : await intake.build(ref, given, id)
      log.info({ buildId: build.id, app: ref.app.name, ref: ref.update.ref }, 'build queued')
      const shown = { buildId: build.id, follower: follower(call, build.id), isOpened: false }
      return { shown, warnings }
    }
  }

  function follower({ push }: HookCall, buildId: string, gatedBranch?: string): BuildFollower {
    const { buildLog, position, waitReason, show, baseUrl, heartbeatMs } = options
    const { quiet, detach } = push.options
    const links = { baseUrl: baseUrl() }
    const transcript = { buildId, links, gatedBranch, detached: detach }
    const asked = { buildLog, position, waitReason, show }
    return createBuildFollower({ ...transcript, ...asked, quiet, heartbeatMs })
  }

  async function follow(call: HookCall, builds: readonly Shown[]): Promise<void> {
    const { print, stopping, push } = call
    const signal = AbortSignal.any([push.over.signal, push.clientGone, stopping])
    for (const { follower, isOpened } of builds) {
      if (signal.aborted) break
      if (!isOpened) await follower.opening(print)
      if (push.options.detach) continue
      await follower.follow(print, signal)
      if (!signal.aborted) await follower.ending(print)
    }
    if (stopping.aborted) {
      const ids = builds.map(({ buildId }) => buildId).join(' and ')
      await print([`warning: the build server stops; ${ids} goes on when it is back`])
    }
  }

  return {
    'pre-receive': preReceive,
    'proc-receive': async (call) => ({ exit: 0, results: await gate(call) }),
    'post-receive': postReceive,
  }
}
