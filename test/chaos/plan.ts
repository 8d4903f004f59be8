// What will happen, from a seed alone: the faults with their times, and what each client does one after the other.
// The same seed gives the same plan; how the two meet is up to the machine.
import fc from 'fast-check'
import type { RunnerName } from '../helpers/pods.ts'

const FAULTS = [
  'kill-server',
  'freeze-server',
  'stop-server',
  'kill-worker',
  'freeze-worker',
  'drain-worker',
  'kill-pod',
  'freeze-pod',
  'kill-postgres',
  'freeze-postgres',
  'restart-postgres',
  'kill-registry',
  'freeze-registry',
] as const

/** What only a pod that is a machine can meet: it stands still for good, or its channel's device does, or ends. */
const FAULTS_OF_MACHINES = ['freeze-vm', 'kill-vsock', 'freeze-vsock'] as const

export type FaultKind = (typeof FAULTS)[number] | (typeof FAULTS_OF_MACHINES)[number]

/** It takes its time until a machine is found out to stand still. */
export function faultsOf({ runner, isShort }: Pick<PlanOptions, 'runner' | 'isShort'>) {
  return runner === 'qemu' && !isShort ? [...FAULTS, ...FAULTS_OF_MACHINES] : [...FAULTS]
}

export interface Fault {
  atMs: number
  kind: FaultKind
  /** Which of the workers, where it is about one. */
  worker: number
  /** How long it stays away. */
  forMs: number
}

export interface PushAction {
  kind: 'push'
  content: 'quick' | 'slow' | 'broken' | 'broken-late'
  options: readonly string[]
  force: boolean
  /** A branch that is not built and a tag go with it. */
  refs: 'one' | 'several'
  /** What the client does once the build is queued. */
  next: 'wait' | 'ctrl-c' | 'vanish' | 'cancel'
  afterMs: number
}

export type Action = (
  | PushAction
  | { kind: 'upload'; content: 'quick' | 'broken' }
  | { kind: 'rebuild' }
) & { pauseMs: number }

export interface AppPlan {
  tenant: string
  name: string
  settings: Record<string, unknown>
}

export interface ClientPlan {
  app: AppPlan
  /** Nobody else pushes to it. */
  branch: string
  actions: Action[]
}

export interface Plan {
  faults: Fault[]
  clients: ClientPlan[]
}

export interface PlanOptions {
  seed: number
  clients: number
  workers: number
  runner: RunnerName
  isShort: boolean
  durationMs: number
  gapMs: { min: number; max: number }
  /** How long the longest of them lasts. */
  faultMsMax: number
}

const BRANCHES = ['main', 'work']

export const APPS: readonly AppPlan[] = [
  { tenant: 'ada', name: 'plain', settings: {} },
  { tenant: 'bob', name: 'gated', settings: { gate: true } },
  { tenant: 'eve', name: 'newest', settings: { supersede: 'running' } },
  { tenant: 'ada', name: 'waiting', settings: { supersede: 'queued' } },
  { tenant: 'bob', name: 'other', settings: {} },
]

const ACTIONS_PER_MINUTE_MAX = 60
/** Most faults; some outlast leases. */
const FAULT_MS = { min: 200, max: 5_000 }

export function planOf(options: PlanOptions): Plan {
  const { seed } = options
  const [plan] = fc.sample(fc.noBias(planArbitrary(options)), { seed, numRuns: 1 })
  return plan!
}

function planArbitrary(options: PlanOptions): fc.Arbitrary<Plan> {
  return fc.record({
    faults: faultsArbitrary(options),
    clients: fc.tuple(...Array.from({ length: options.clients }, (_, i) => client(i, options))),
  })
}

/** Dealt out, so that each kind comes as often as the others. */
function faultsArbitrary(options: PlanOptions): fc.Arbitrary<Fault[]> {
  const { durationMs, gapMs, workers, faultMsMax } = options
  const most = Math.ceil(durationMs / gapMs.min)
  const faults = faultsOf(options)
  const deal = fc.shuffledSubarray(faults, { minLength: faults.length })
  const kinds = times(Math.ceil(most / faults.length), deal).map((deals) => deals.flat())
  const details = times(
    most,
    fc.record({
      gapMs: fc.integer(gapMs),
      worker: fc.integer({ min: 0, max: workers - 1 }),
      forMs: fc.oneof(
        { arbitrary: fc.integer(FAULT_MS), weight: 9 },
        { arbitrary: fc.integer({ min: FAULT_MS.max, max: faultMsMax }), weight: 1 },
      ),
    }),
  )
  return fc.tuple(kinds, details).map(([dealt, all]) => {
    let atMs = 0
    return all
      .map(({ gapMs: gap, ...rest }, i) => {
        atMs += gap
        return { atMs, kind: dealt[i]!, ...rest }
      })
      .filter((fault) => fault.atMs < durationMs)
  })
}

function client(i: number, { durationMs }: PlanOptions): fc.Arbitrary<ClientPlan> {
  const most = Math.ceil(durationMs / 60_000) * ACTIONS_PER_MINUTE_MAX
  return times(most, action()).map((actions) => ({
    app: APPS[i % APPS.length]!,
    branch: branchOf(Math.floor(i / APPS.length)),
    actions,
  }))
}

const branchOf = (n: number) => BRANCHES[n] ?? `work-${n}`

function action(): fc.Arbitrary<Action> {
  const pauseMs = fc.integer({ min: 0, max: 1_500 })
  const content = often<PushAction['content']>(
    ['quick', 3],
    ['slow', 3],
    ['broken', 1],
    ['broken-late', 1],
  )
  const push = fc.record({
    kind: fc.constant('push' as const),
    content,
    options: often<string[]>([[], 8], [['gate'], 2], [['detach'], 3], [['quiet', 'no-cache'], 1]),
    force: often([false, 4], [true, 1]),
    refs: often<PushAction['refs']>(['one', 4], ['several', 1]),
    next: often<PushAction['next']>(['wait', 5], ['ctrl-c', 1], ['vanish', 1], ['cancel', 2]),
    afterMs: fc.integer({ min: 0, max: 4_000 }),
    pauseMs,
  })
  const upload = fc.record({
    kind: fc.constant('upload' as const),
    content: often<'quick' | 'broken'>(['quick', 3], ['broken', 1]),
    pauseMs,
  })
  const rebuild = fc.record({ kind: fc.constant('rebuild' as const), pauseMs })
  return fc.oneof(
    { arbitrary: push, weight: 8 },
    { arbitrary: upload, weight: 2 },
    { arbitrary: rebuild, weight: 1 },
  )
}

function times<T>(length: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.array(arbitrary, { minLength: length, maxLength: length })
}

function often<T>(...choices: [T, number][]): fc.Arbitrary<T> {
  return fc.oneof(...choices.map(([value, weight]) => ({ arbitrary: fc.constant(value), weight })))
}
