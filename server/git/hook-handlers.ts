// What the hooks do on the server: admission before the refs move, the gate if the push has one, intake and
// following afterwards.
import { effectiveSettings } from '../apps/schema.ts'
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import type { BuildStore } from '../builds/store.ts'
import type { Listener } from '../db/listen.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Admission } from './admission.ts'
import { type Classified, classify, type RefRules } from './classify.ts'
import { type BuildFollower, createBuildFollower } from './follow-build.ts'
import { createGateHandler } from './gate-handler.ts'
import type { Gates } from './gates.ts'
import type { HookAnswer, HookCall, HookHandlers } from './hook-socket.ts'
import type { Intake } from './intake.ts'
import { intakeErrorLines, receivingLines, storedLines } from './push-lines.ts'
import { unknownLines } from './push-options.ts'
import type { Repositories } from './repositories.ts'
import { sanitizeLine } from './sanitize.ts'

export interface HookHandlersOptions {
  admission: Admission
  intake: Intake
  gates: Gates
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

/** A build that was recorded, and how much of it has been shown. */
interface Shown {
  buildId: string
  follower: BuildFollower
  isOpened: boolean
}

export function createHookHandlers(options: HookHandlersOptions): HookHandlers {
  const { admission, intake, gates, log } = options
  const gate = createGateHandler({ ...options, follower })

  async function preReceive({ push, refs, print }: HookCall): Promise<HookAnswer> {
    await print([...receivingLines(push.app.name, refs), ...unknownLines(push.options)])
    const refusal = await admission(push, refs)
    if (!refusal) return { exit: 0 }
    await print([`error: ${refusal.reason}`, `hint: ${refusal.hint}`])
    return { exit: 1 }
  }

  async function postReceive(call: HookCall): Promise<HookAnswer> {
    const rules = effectiveSettings(call.push.app.settings)
    // Recorded and queued first, all of them, whether anybody watches or not; only then is one followed.
    const builds: Shown[] = []
    for (const moved of call.refs.map((update) => classify(update, rules))) {
      const shown = await takeIn(call, moved, rules)
      if (shown) builds.push(shown)
    }
    await follow(call, builds)
    return { exit: 0 }
  }

  async function takeIn(
    call: HookCall,
    moved: Classified,
    rules: RefRules,
  ): Promise<Shown | undefined> {
    const { app, principal, gated } = call.push
    const { update } = moved
    const ref = { app, update, pusher: principal.user, source: 'push' as const }
    try {
      if (moved.kind === 'unchanged') return undefined
      if (moved.kind !== 'build') {
        await intake.record(ref)
        await call.print(storedLines(moved, rules))
        return undefined
      }
      const passed = gated.get(update.ref)
      if (passed && (await gates.open(passed.buildId, ref))) return { ...passed, isOpened: true }
      const { build, warnings } = await intake.build(ref, call.push.options)
      log.info({ buildId: build.id, app: app.name, ref: update.ref }, 'build queued')
      await call.print(warnings.map((text) => `warning: ${sanitizeLine(text)}`))
      return { buildId: build.id, follower: follower(call, build.id), isOpened: false }
    } catch (error) {
      if (!(error instanceof AppError)) {
        log.error({ err: asError(error), app: app.name, ref: update.ref }, 'intake failed')
      }
      await call.print(intakeErrorLines(error, outcomeOf(error)))
      return undefined
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
    const signal = AbortSignal.any([call.gone, push.clientGone, stopping])
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

function outcomeOf(error: unknown): string {
  return error instanceof AppError && error.code === 'queue_full'
    ? 'the push is stored; the server queues its build when there is room'
    : 'nothing was queued; the branch has moved all the same'
}
