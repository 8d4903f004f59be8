// What the two hooks do on the server: admission before the refs move, intake and following afterwards.
import { effectiveSettings } from '../apps/schema.ts'
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Admission } from './admission.ts'
import { BRANCHES, type Classified, classify } from './classify.ts'
import { errorLines } from './denial.ts'
import { followBuild } from './follow-build.ts'
import type { HookCall } from './hook-socket.ts'
import type { Intake } from './intake.ts'
import type { HookKind } from './live.ts'
import { ZERO_OID } from './pkt-line.ts'
import { sanitizeLine } from './sanitize.ts'
import { DETAIL, STEP } from './transcript-grammar.ts'

const NO_CACHE = 'no-cache'
const SHA_CHARS_SHOWN = 7

export interface HookHandlersOptions {
  admission: Admission
  intake: Intake
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  show(buildId: string): Promise<Build>
  baseUrl: () => string
  log: Log
  heartbeatMs?: number
}

export function createHookHandlers(
  options: HookHandlersOptions,
): Record<HookKind, (call: HookCall) => Promise<number>> {
  const { admission, intake, log } = options

  async function preReceive({ push, refs, print }: HookCall): Promise<number> {
    await print(receivingLines(push.app.name, refs))
    const refusal = await admission(push, refs)
    if (!refusal) return 0
    await print([`error: ${refusal.reason}`, `hint: ${refusal.hint}`])
    return 1
  }

  async function postReceive(call: HookCall): Promise<number> {
    const { deployBranches } = effectiveSettings(call.push.app.settings)
    for (const option of call.options.filter((given) => given !== NO_CACHE)) {
      const shown = JSON.stringify(sanitizeLine(option))
      await call.print([`warning: push option ${shown} is not known; ${NO_CACHE} is`])
    }
    // Recorded and queued first, all of them, whether anybody watches or not; only then is one followed.
    const builds: string[] = []
    for (const moved of call.refs.map((update) => classify(update, deployBranches))) {
      const buildId = await takeIn(call, moved, deployBranches)
      if (buildId) builds.push(buildId)
    }
    await follow(call, builds)
    return 0
  }

  async function takeIn(
    call: HookCall,
    moved: Classified,
    deployBranches: readonly string[],
  ): Promise<string | undefined> {
    const { app, principal } = call.push
    const ref = { app, update: moved.update, pusher: principal.user, source: 'push' as const }
    try {
      if (moved.kind !== 'build') {
        await intake.record(ref)
        await call.print(storedLines(moved, deployBranches))
        return undefined
      }
      const { build, warnings } = await intake.build({
        ...ref,
        noCache: call.options.includes(NO_CACHE),
      })
      log.info({ buildId: build.id, app: app.name, ref: moved.update.ref }, 'build queued')
      await call.print(warnings.map((text) => `warning: ${sanitizeLine(text)}`))
      return build.id
    } catch (error) {
      if (!(error instanceof AppError)) {
        log.error({ err: asError(error), app: app.name, ref: moved.update.ref }, 'intake failed')
      }
      await call.print(intakeErrorLines(error))
      return undefined
    }
  }

  async function follow(call: HookCall, builds: readonly string[]): Promise<void> {
    const { buildLog, position, show, baseUrl, heartbeatMs } = options
    const { print, stopping } = call
    const signal = AbortSignal.any([call.gone, call.push.clientGone, stopping])
    for (const buildId of builds) {
      if (signal.aborted) break
      const links = { baseUrl: baseUrl() }
      await followBuild({ buildId, buildLog, position, show, links, print, signal, heartbeatMs })
    }
    if (stopping.aborted) {
      await print([
        `warning: the build server stops; ${builds.join(' and ')} goes on when it is back`,
      ])
    }
  }

  return { 'pre-receive': preReceive, 'post-receive': postReceive }
}

function receivingLines(app: string, refs: HookCall['refs']): string[] {
  return refs
    .filter(({ newSha }) => newSha !== ZERO_OID)
    .map(({ ref, newSha }) => {
      const name = ref.startsWith(BRANCHES) ? ref.slice(BRANCHES.length) : ref
      return `${STEP}Receiving ${newSha.slice(0, SHA_CHARS_SHOWN)} for ${app} (${name})`
    })
}

function storedLines(moved: Classified, deployBranches: readonly string[]): string[] {
  if (moved.kind === 'tag') return [`${DETAIL}Stored; tags are not built`]
  if (moved.kind !== 'stored') return []
  const { branch } = moved
  return [
    `warning: ${branch} is stored but not built; deploy branches: ${deployBranches.join(', ')}`,
    `hint: to build it: git push hypeman ${branch}:${deployBranches[0] ?? 'main'}`,
  ]
}

function intakeErrorLines(error: unknown): string[] {
  if (error instanceof AppError) {
    const next =
      error.code === 'queue_full'
        ? 'the push is stored; the server queues its build when there is room'
        : 'nothing was queued; the branch has moved all the same'
    return [...errorLines(error).map(sanitizeLine), `hint: ${next}`]
  }
  return [
    'error: the push is stored, but its build could not be queued',
    'hint: the server tries again within a minute; there is no need to push again',
  ]
}
