// What caches save: an app pushed cold, unchanged and with one line changed, each build in a fresh pod; with its
// builder's disk, with the registry's cache alone, as on a worker that has never built it, and with neither.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeRepo, type Repo, remoteUrl } from '../helpers/repo.ts'
import { median, shortMs, table, times } from './figures.ts'
import { type BenchServer, startBenchServer } from './timed-push.ts'

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3)
const SIDES = {
  'builder disk': { builder: 'default', options: [] },
  'registry only': { builder: 'off', options: [] },
  none: { builder: 'off', options: ['-o', 'no-cache'] },
}
type Side = keyof typeof SIDES
const KINDS = ['cold', 'unchanged', 'one line changed'] as const

interface Figure {
  readyMs: number
  /** Without the boot of the guest. */
  workMs: number
  /** Steps that were executed, of all. */
  steps: string
  source: string
  /** From ready to the builder's next state. */
  savedMs: number
}

export async function run(): Promise<void> {
  const server = await startBenchServer()
  try {
    const sides = (Object.keys(SIDES) as Side[]).filter(isPossible)
    const rounds: Figure[][][] = []
    for (let round = 1; round <= ROUNDS; round += 1) {
      const found: Figure[][] = []
      for (const side of sides) {
        process.stderr.write(`bench: round ${round} of ${ROUNDS}, ${side}\n`)
        found.push(await pushAll(server, round, side))
      }
      rounds.push(found)
    }
    const head = ['cache', 'push', '→ ready', 'of none', 'build+push', 'of none', 'steps run']
    const lines = sides.flatMap((side, s) =>
      KINDS.map((kind, k) => {
        const middle = (at: number, what: 'readyMs' | 'workMs' | 'savedMs') =>
          median(rounds.map((round) => round[at]![k]![what]))
        const none = sides.length - 1
        const { steps, source } = rounds[0]![s]![k]!
        return [
          side,
          kind,
          shortMs(middle(s, 'readyMs')),
          times(middle(s, 'readyMs'), middle(none, 'readyMs')),
          shortMs(middle(s, 'workMs')),
          times(middle(s, 'workMs'), middle(none, 'workMs')),
          `${steps} (from ${source})`,
          side === 'builder disk' ? shortMs(middle(s, 'savedMs')) : '',
        ]
      }),
    )
    console.log(table([[...head, 'disk saved after'], ...lines]))
  } finally {
    await server.stop()
  }
}

/** Builds in sandboxes have no builders. */
function isPossible(side: Side): boolean {
  return side !== 'builder disk' || process.env.RUNNER !== 'bubblewrap'
}

async function pushAll({ process }: BenchServer, round: number, side: Side): Promise<Figure[]> {
  const token = await process.token('bench')
  const name = `${side.replace(' ', '-')}-${round}`
  const { builder, options } = SIDES[side]
  const made = await process.api('/apps', token, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, builder }),
  })
  if (made.status !== 201) throw new Error(await made.text())
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  try {
    const repo = await makeRepo(dir, 'hello')
    await repo.git('remote', 'add', 'hypeman', remoteUrl(process.url, token, `/${name}.git`))
    const figures = [await pushed({ process, token, repo, options })]
    await repo.commit('nothing changed')
    figures.push(await pushed({ process, token, repo, options }))
    await repo.write('hello.sh', `echo ${round}\n`)
    await repo.commit('one line')
    figures.push(await pushed({ process, token, repo, options }))
    return figures
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

interface Push extends Pick<BenchServer, 'process'> {
  token: string
  repo: Repo
  options: string[]
}

async function pushed({ process, token, repo, options }: Push): Promise<Figure> {
  const started = performance.now()
  const push = await repo.push('hypeman', 'main', ...options)
  const readyMs = performance.now() - started
  const build = await process.build(push.buildId ?? '', token)
  if (build.status !== 'ready' || !build.steps) throw new Error(`the push failed:\n${push.text}`)
  const { total, cached } = build.steps
  const { build_ms = 0, push_ms = 0 } = build.phases ?? {}
  const savedMs = await saved(process)
  console.error(`bench: ${shortMs(readyMs)}, ${total - cached} of ${total} steps`)
  const source = build.provenance?.cache?.source ?? 'none'
  return {
    readyMs,
    workMs: build_ms + push_ms,
    steps: `${total - cached} of ${total}`,
    source,
    savedMs,
  }
}

/** How long builders are still being saved. */
async function saved(process: BenchServer['process']): Promise<number> {
  const started = performance.now()
  for (;;) {
    const busy = await process.sql('select 1 from builders where lease_token is not null')
    if (busy.length === 0) return performance.now() - started
    await sleep(100)
  }
}
