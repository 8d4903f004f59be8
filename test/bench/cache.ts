// What the registry cache saves: the same app pushed cold, unchanged and with one line changed, each build in a
// fresh pod, beside the same push without cache.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeRepo, type Repo, remoteUrl } from '../helpers/repo.ts'
import { median, shortMs, table, times } from './figures.ts'
import { type BenchServer, startBenchServer } from './pushes.ts'

const ROUNDS = 3
const KINDS = ['cold', 'unchanged', 'one line changed', 'without cache'] as const

interface Figure {
  readyMs: number
  /** Steps that were executed, of all. */
  steps: string
}

export async function run(): Promise<void> {
  const server = await startBenchServer()
  try {
    const rounds: Figure[][] = []
    for (let round = 1; round <= ROUNDS; round += 1) {
      process.stderr.write(`bench: round ${round} of ${ROUNDS}\n`)
      rounds.push(await pushAll(server, round))
    }
    const middle = (kind: number) => median(rounds.map((figures) => figures[kind]!.readyMs))
    const rows = KINDS.map((kind, n) => [
      kind,
      shortMs(middle(n)),
      rounds[0]![n]!.steps,
      times(middle(n), middle(KINDS.length - 1)),
    ])
    console.log(table([['push', '→ ready', 'steps run', 'of without cache'], ...rows]))
  } finally {
    await server.stop()
  }
}

async function pushAll(server: BenchServer, round: number): Promise<Figure[]> {
  const token = await server.process.token('bench')
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  try {
    const repo = await makeRepo(dir, 'hello')
    await repo.git(
      'remote',
      'add',
      'hypeman',
      remoteUrl(server.process.url, token, `/c${round}.git`),
    )
    const figures = [await pushed(server, token, repo)]
    await repo.commit('nothing changed')
    figures.push(await pushed(server, token, repo))
    await repo.write('hello.sh', `echo ${round}\n`)
    await repo.commit('one line')
    figures.push(await pushed(server, token, repo))
    await repo.commit('without cache')
    figures.push(await pushed(server, token, repo, '-o', 'no-cache'))
    return figures
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function pushed(
  { process }: BenchServer,
  token: string,
  repo: Repo,
  ...options: string[]
): Promise<Figure> {
  const started = performance.now()
  const push = await repo.push('hypeman', 'main', ...options)
  const readyMs = performance.now() - started
  const build = await process.build(push.buildId ?? '', token)
  if (build.status !== 'ready' || !build.steps) throw new Error(`the push failed:\n${push.text}`)
  const { total, cached } = build.steps
  return { readyMs, steps: `${total - cached} of ${total}` }
}
