// What the two hooks do on the server: admission before the refs move, intake and following afterwards.
import { effectiveSettings } from '../apps/schema.ts'
import type { BuildLog } from '../builds/log.ts'
import type { Build } from '../builds/schema.ts'
import { AppError, asError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Admission } from './admission.ts'
import { type Classified, classify } from './classify.ts'
import { followBuild } from './follow-build.ts'
import type { HookCall } from './hook-socket.ts'
import type { Intake } from './intake.ts'
import type { HookKind } from './live.ts'

export interface HookHandlersOptions {
  admission: Admission
  intake: Intake
  buildLog: BuildLog
  position(buildId: string): Promise<number | undefined>
  show(buildId: string): Promise<Build>
  baseUrl: () => string
  log: Log
}

export function createHookHandlers(
  options: HookHandlersOptions,
): Record<HookKind, (call: HookCall) => Promise<number>> {
  const { admission, intake, log } = options

  async function preReceive({ push, refs, print }: HookCall): Promise<number> {
    const refusal = await admission(push, refs)
    if (!refusal) return 0
    await print([`error: ${refusal.reason}`, `hint: ${refusal.hint}`])
    return 1
  }

  async function postReceive(call: HookCall): Promise<number> {
    const { deployBranches } = effectiveSettings(call.push.app.settings)
    const classified = call.refs.map((update) => classify(update, deployBranches))
    // Recorded and queued first, all of them; only then is anything followed.
    const builds: string[] = []
    for (const moved of classified) {
      const buildId = await take(call, moved, deployBranches)
      if (buildId) builds.push(buildId)
    }
    const signal = AbortSignal.any([call.gone, call.push.clientGone])
    for (const buildId of builds) {
      if (signal.aborted) break
      const links = { baseUrl: options.baseUrl() }
      const { buildLog, position, show } = options
      await followBuild({ buildId, buildLog, position, show, links, print: call.print, signal })
    }
    return 0
  }

  async function take(
    call: HookCall,
    moved: Classified,
    deployBranches: readonly string[],
  ): Promise<string | undefined> {
    const { app, principal } = call.push
    const { update } = moved
    const ref = { app, update, pusher: principal.user, source: 'push' as const }
    if (moved.kind !== 'build') {
      await intake.record(ref)
      // The client may be gone already; what counts is recorded.
      if (moved.kind === 'stored')
        await call.print(storedLines(moved.branch, deployBranches)).catch(() => {})
      return undefined
    }
    try {
      const noCache = call.options.includes('no-cache')
      const build = await intake.build({ ...ref, noCache })
      log.info({ buildId: build.id, app: app.name, ref: update.ref }, 'build queued')
      return build.id
    } catch (error) {
      await call.print(intakeErrorLines(error)).catch(() => {})
      if (!(error instanceof AppError)) log.error({ err: asError(error) }, 'intake failed')
      return undefined
    }
  }

  return { 'pre-receive': preReceive, 'post-receive': postReceive }
}

function storedLines(branch: string, deployBranches: readonly string[]): string[] {
  const deploy = deployBranches[0] ?? 'main'
  return [
    `warning: ${branch} is stored but not built; deploy branches are: ${deployBranches.join(', ')}`,
    `hint: to build it: git push hypeman ${branch}:${deploy}`,
  ]
}

function intakeErrorLines(error: unknown): string[] {
  if (!(error instanceof AppError)) {
    return [
      'error: the push is stored, but its build could not be queued',
      'hint: the server tries again within a minute',
    ]
  }
  const hint = error.hint ? [`hint: ${error.hint}`] : []
  return [
    `error: ${error.message}`,
    ...hint,
    'hint: nothing was queued; the branch has moved all the same',
  ]
}
