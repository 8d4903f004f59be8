// One run: a world, clients that use it, faults that break it; then everything comes back, every build ends, and
// the auditor looks at what is left. Returns what contradicts a promise.
import { setTimeout as sleep } from 'node:timers/promises'
import { inTime } from '../../server/in-time.ts'
import { RECONCILE_INTERVAL_MS } from '../../server/limits.ts'
import { pathsFor } from '../../server/paths.ts'
import { registryPids } from '../helpers/leftovers.ts'
import type { RunnerName } from '../helpers/pods.ts'
import { type AuditInput, audit, type Finding } from './audit.ts'
import { runClient } from './client.ts'
import { unexpected } from './expectations.ts'
import { type FaultOptions, inject } from './faults.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { APPS, faultsOf, type Plan, planOf } from './plan.ts'
import { watchSandboxes } from './sandboxes.ts'
import { type Summary, summaryOf } from './summary.ts'
import { LIMITS, startWorld, type World } from './world.ts'

export interface ChaosOptions {
  seed: number
  /** How long faults and clients go on. */
  durationMs: number
  clients: number
  workers: number
  runner: RunnerName
  /** Between two faults. */
  gapMs: { min: number; max: number }
  /** How long the longest fault lasts. */
  faultMsMax: number
  /** A short run does not wait for what only time brings: leases that run out, the next round of the reconciler. */
  isShort: boolean
  say(text: string): void
  /** Folder for what the processes log; without it they are kept only when there is something to look into. */
  logs?: string | undefined
  /** Ends it early; what was begun is still audited. */
  signal?: AbortSignal
}

export interface ChaosResult {
  findings: Finding[]
  summary: Summary
  /** Folder of logs, when there is something to look into. */
  logs?: string
}

/** For the last ones to find what they are to break. */
const FAULTS_GRACE_MS = 60_000

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const started = Date.now()
  const say = (text: string) =>
    options.say(`[${((Date.now() - started) / 1000).toFixed(1).padStart(6)} s] ${text}`)
  const plan = planOf(options)
  const ledger = createLedger()
  const findings: Finding[] = []
  const onSurprise = (what: string) => {
    say(`SURPRISE: ${what}`)
    findings.push({ invariant: 'a process ends only when it is asked to', what })
  }
  const onUnnoticed = (what: string) => {
    say(`SURPRISE: ${what}`)
    findings.push({ invariant: 'what stands still is found out', what })
  }
  const world = await startWorld({ ...options, onSurprise })
  const invariant = 'a worker has no more sandboxes than slots'
  const watched = watchSandboxes(world.workers, world.pace.podsPerWorker, (what) =>
    findings.push({ invariant, what }),
  )
  try {
    await makeApps(world, plan)
    say(`server, ${options.workers} workers and ${options.clients} clients in ${world.root}`)
    await breakThings(world, plan, ledger, { ...options, say, onSurprise: onUnnoticed })
    await settle(world, options, say)
    const summary = await summaryOf(world.db, ledger, faultsOf(options))
    summary.lines.push(`at most ${await watched.stop()} sandboxes at once on a worker`)
    findings.push(...(await unexpected(world.db, ledger)))
    findings.push(...(await audit(await auditInput(world, ledger))))
    await world.stop()
    say('server and workers have ended')
    findings.push(...(await audit({ ...(await auditInput(world, ledger)), pids: [] })))
    return { findings, summary, ...(await logs(world)) }
  } finally {
    await watched.stop()
    await world.stop()
    await world.close()
    await world.removeFolders()
  }

  async function logs({ root }: World) {
    if (findings.length === 0 && options.logs === undefined) return {}
    const folder = options.logs ?? `${root}-logs`
    await world.saveLogs(folder)
    return { logs: folder }
  }
}

async function makeApps(world: World, { clients }: Plan): Promise<void> {
  const branches = [...new Set(clients.map(({ branch }) => branch))]
  for (const { tenant, name, settings } of APPS) {
    const policy = { memory_mb: 512, cpus: 1 }
    const body = JSON.stringify({ name, deploy_branches: branches, policy, ...settings })
    const headers = { 'content-type': 'application/json' }
    const init = { method: 'POST', headers, body }
    const reply = await world.api('/apps', await world.token(tenant), init)
    if (reply.status !== 201) throw new Error(`POST /apps: ${await reply.text()}`)
  }
}

type Broken = Pick<ChaosOptions, 'durationMs' | 'isShort' | 'signal' | 'say'> &
  Pick<FaultOptions, 'onSurprise'>

/** Until the time is over, every fault is mended, and every client knows what became of its last act. */
async function breakThings(
  world: World,
  plan: Plan,
  ledger: Ledger,
  { durationMs, isShort, signal, say, onSurprise }: Broken,
): Promise<void> {
  const stopping = new AbortController()
  const over = AbortSignal.any([stopping.signal, ...(signal ? [signal] : [])])
  const clients = plan.clients.map((client, i) =>
    runClient({ name: `client-${i + 1}`, plan: client, world, ledger, stopping: over, say }),
  )
  const began = Date.now()
  const untilMs = (atMs: number) =>
    sleep(began + atMs - Date.now(), undefined, { signal: over }).catch(() => {})
  const faults: Promise<unknown>[] = []
  const failed: unknown[] = []
  for (const fault of plan.faults) {
    await untilMs(fault.atMs)
    if (over.aborted) break
    const leases = isShort ? 'expire' : 'wait'
    const injected = inject(fault, { world, leases, say, onSurprise, signal: over })
    const made = injected.then((isMade) => isMade && ledger.faults.push(fault.kind))
    faults.push(made.catch((error) => failed.push(error)))
  }
  await untilMs(durationMs)
  await inTime(Promise.all(faults), FAULTS_GRACE_MS)
  stopping.abort()
  await Promise.all(faults)
  if (failed.length > 0) throw new AggregateError(failed, 'faults could not be made or mended')
  for (const kept of [world.server, ...world.workers]) await kept.up()
  say('the last fault is mended')
  await Promise.all(clients)
  say('the last client has its answer')
}

/** A push that nobody has heard of is found by the next round of the reconciler, or at the next start. */
async function settle(world: World, { isShort }: ChaosOptions, say: (text: string) => void) {
  if (isShort) {
    await world.server.down('SIGTERM', 0)
    await world.server.up()
  } else {
    await sleep(RECONCILE_INTERVAL_MS + 5_000)
  }
  const deadline = Date.now() + world.pace.quietDeadlineMs
  for (;;) {
    const left = await world.db('builds').whereNull('completed_at').select('id', 'status')
    // Behind its result a guest still puts its builder's disk in order.
    const held = await world.db('builders').whereNotNull('lease_token').pluck('key')
    if (left.length + held.length === 0) return say('every build has ended')
    if (Date.now() > deadline) {
      const builds = left.map(({ id, status }) => `${id} ${status}`)
      return say(`what does not end: ${[...builds, ...held].join(', ')}`)
    }
    await sleep(500)
  }
}

async function auditInput(world: World, ledger: Ledger): Promise<AuditInput> {
  const { server, workers, dataDirs, url, postgres } = world
  const tenants = [...new Set(APPS.map(({ tenant }) => tenant))]
  const names = (await world.db('builds').distinct('worker').whereNotNull('worker')) as {
    worker: string
  }[]
  const serverPid = server.pid()
  const pids = [serverPid, ...workers.map((worker) => worker.pid())].filter(
    (pid) => pid !== undefined,
  )
  return {
    databaseUrl: postgres.url,
    repositories: pathsFor(dataDirs.server).repositories,
    objects: pathsFor(dataDirs.server).objects,
    registryUrl: url,
    token: await world.token('root', { admin: true }),
    dataDirs: [dataDirs.server, ...dataDirs.workers],
    pids: [...pids, ...(serverPid === undefined ? [] : await registryPids(serverPid))],
    limits: {
      global: LIMITS.global,
      perTenant: Object.fromEntries(tenants.map((tenant) => [tenant, LIMITS.perTenant])),
      perWorkerSlots: Object.fromEntries(names.map(({ worker }) => [worker, world.pace.perWorker])),
    },
    pushes: ledger.pushes,
    cancelled: ledger.cancelled,
  }
}
