// proc-receive: builds what a gated push wants to move, and lets git move only what has passed. A push that
// is not there any more when its builds have passed moves nothing.
import { effectiveSettings } from '../apps/schema.ts'
import type { BuildStore } from '../builds/store.ts'
import type { Listener } from '../db/listen.ts'
import { AppError } from '../errors.ts'
import { REJECTION_CHARS_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { classify } from './classify.ts'
import type { BuildFollower } from './follow-build.ts'
import { untilVerdict, verdictOf } from './gate-verdict.ts'
import type { Gates } from './gates.ts'
import type { HookCall, RefResult } from './hook-lines.ts'
import type { Intake } from './intake.ts'
import { type RefUpdate, ZERO_OID } from './pkt-line.ts'
import { intakeErrorLines } from './push-lines.ts'
import type { Repositories } from './repositories.ts'
import { sanitizeLine } from './sanitize.ts'
import { STEP } from './transcript-grammar.ts'

const SHA_CHARS_SHOWN = 10

export interface GateHandlerOptions {
  gates: Gates
  intake: Pick<Intake, 'gate'>
  repositories: Pick<Repositories, 'tip'>
  store: Pick<BuildStore, 'get'>
  listener: Pick<Listener, 'on'>
  follower(call: HookCall, buildId: string, gatedBranch: string): BuildFollower
  log: Log
}

/** One ref of the push, and how far it has come. */
interface Candidate {
  update: RefUpdate
  /** Of a ref that is built. */
  branch: string | undefined
  build?: { buildId: string; follower: BuildFollower }
  rejected?: string
}

export function createGateHandler(options: GateHandlerOptions) {
  const { gates, intake, repositories, store, log } = options

  async function procReceive(call: HookCall): Promise<RefResult[]> {
    const { push } = call
    const { app, gated, isAtomic, over } = push
    const settle = () => {
      const ids = [...gated.values()].map(({ buildId }) => buildId)
      void gates.settleIds(ids, app)
    }
    over.signal.addEventListener('abort', settle, { once: true })
    const rules = effectiveSettings(app.settings)
    const candidates = call.refs.map((update): Candidate => {
      const classified = classify(update, rules)
      return { update, branch: classified.kind === 'build' ? classified.branch : undefined }
    })
    const goesOn = () => !isAtomic || candidates.every(({ rejected }) => rejected === undefined)
    // Queued first, all of them; then one after the other is watched.
    for (const candidate of candidates) if (goesOn()) await queue(call, candidate)
    for (const candidate of candidates) if (goesOn()) await watch(call, candidate)
    for (const candidate of candidates) await requireTip(candidate, call)
    if (!goesOn()) rejectRest(candidates)
    for (const candidate of candidates) await release(candidate)
    const moving = candidates.filter(({ build, rejected }) => build && rejected === undefined)
    await call.print(moving.map(({ branch }) => `${STEP}Moving ${branch}`))
    return candidates.map(({ update: { ref }, rejected }) =>
      rejected === undefined ? { ref } : { ref, reason: rejected },
    )
  }

  async function queue(call: HookCall, candidate: Candidate): Promise<void> {
    const { update, branch } = candidate
    if (branch === undefined) return
    await requireTip(candidate, call)
    if (candidate.rejected !== undefined) return
    const { app, principal, options: given, gated } = call.push
    try {
      const wanted = { app, update, pusher: principal.user, source: 'push' as const }
      const { build, warnings } = await intake.gate(wanted, given)
      log.info({ buildId: build.id, app: app.name, ref: update.ref }, 'gated build queued')
      await call.print(warnings.map((text) => `warning: ${sanitizeLine(text)}`))
      const follower = options.follower(call, build.id, branch)
      candidate.build = { buildId: build.id, follower }
      gated.set(update.ref, candidate.build)
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      await call.print(
        intakeErrorLines(error, [`hint: nothing was queued, and ${branch} has not moved`]),
      )
      candidate.rejected = reason(error.message)
    }
  }

  /** Follows a build until it has passed or ended, or nobody waits for it any more. */
  async function watch(call: HookCall, candidate: Candidate): Promise<void> {
    const { build, rejected } = candidate
    if (!build || rejected !== undefined) return
    const { print, stopping, push } = call
    const left = AbortSignal.any([stopping, push.clientGone, push.over.signal])
    const passed = new AbortController()
    const waiting = untilVerdict(options, build.buildId, left).then((verdict) => {
      if (verdict === 'passed') passed.abort()
    })
    await build.follower.opening(print)
    await build.follower.follow(print, AbortSignal.any([left, passed.signal]))
    await waiting
    if (left.aborted) {
      candidate.rejected = stopping.aborted
        ? 'the build server stops; push again when it is back'
        : 'the client went away'
      return
    }
    const row = await store.get(build.buildId)
    if (verdictOf(row) === 'passed') {
      await print([`${STEP}Build ${build.buildId} passed`])
      return
    }
    await build.follower.ending(print)
    const how =
      row?.status === 'failed' ? `failed: ${shortCause(row.error ?? '')}` : 'was cancelled'
    candidate.rejected = reason(`build ${build.buildId} ${how}`)
  }

  /** git looks as well, when it moves the ref, but does not say who was faster. */
  async function requireTip(candidate: Candidate, { push, print }: HookCall): Promise<void> {
    const { update, branch, rejected } = candidate
    if (branch === undefined || rejected !== undefined) return
    const tip = (await repositories.tip(push.app.id, update.ref)) ?? ZERO_OID
    if (tip === update.oldSha) return
    const now = tip === ZERO_OID ? 'was deleted' : `moved to ${tip.slice(0, SHA_CHARS_SHOWN)}`
    candidate.rejected = `${branch} ${now} meanwhile`
    await print([`error: ${candidate.rejected}`, 'hint: fetch, then push again'])
  }

  /** Ends the build of a ref that does not move. */
  async function release({ build, rejected }: Candidate): Promise<void> {
    if (build && rejected !== undefined) {
      await gates.close(build.buildId, `its push was rejected: ${rejected}`)
    }
  }

  return procReceive
}

/** All or nothing was asked for. */
function rejectRest(candidates: Candidate[]): void {
  const cause = candidates.find(({ rejected }) => rejected !== undefined)
  for (const candidate of candidates) {
    candidate.rejected ??= reason(`atomic push, and ${cause?.update.ref} was rejected`)
  }
}

/** `step 4/7 exited 1` of `step 9 ([4/7] RUN make) failed with exit code 1`; else as it is. */
function shortCause(error: string): string {
  const [, step, code] =
    /^step \d+ \(\[(?:[^\]]* )?(\d+\/\d+)\] .*\) failed with exit code (\d+)$/s.exec(error) ?? []
  return step === undefined ? error : `step ${step} exited ${code}`
}

/** One line, as git shows it in brackets. */
function reason(text: string): string {
  const line = sanitizeLine(text)
  return line.length > REJECTION_CHARS_MAX ? `${line.slice(0, REJECTION_CHARS_MAX)}…` : line
}
