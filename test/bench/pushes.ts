// 50 small pushes at once, each to a repository of its own that the push makes, beside git http-backend in the same
// run: how many per second, how long until a build is queued, and until git ends.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeRepo, type Repo } from '../helpers/repo.ts'
import { percentile, perSecond, shortMs, table, times } from './figures.ts'
import { bareToPush, oursToPush, type PushSide } from './push-sides.ts'

const AT_ONCE = 50
const ROUNDS = 2

interface Found {
  wholeMs: number
  queuedMs: number[]
  endedMs: number[]
}

export async function run(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  const sides = await Promise.all([oursToPush(), bareToPush()])
  const [ours, bare] = sides
  try {
    const repo = await makeRepo(dir)
    await repo.write('Dockerfile', 'FROM scratch\nCOPY hello /\n')
    await repo.write('hello', 'hello\n'.repeat(1_000))
    await repo.commit()
    const found = new Map<PushSide, Found[]>(sides.map((side) => [side, []]))
    for (const side of sides) await pushAll(repo, side, 'warm', 1)
    for (let round = 1; round <= ROUNDS; round += 1) {
      for (const side of sides) {
        process.stderr.write(`bench: round ${round} of ${ROUNDS}, ${side.name}\n`)
        found.get(side)?.push(await pushAll(repo, side, String(round), AT_ONCE))
      }
    }
    const [our, their] = [summary(found.get(ours) ?? []), summary(found.get(bare) ?? [])]
    const head = ['to', 'pushes', 'queued p50', 'p99', 'git ends p50', 'p99', 'ratio of the p50']
    console.log(`${AT_ONCE} at once, ${ROUNDS} times`)
    console.log(
      table([
        head,
        [ours.name, ...cells(our), times(our.endedP50, their.endedP50)],
        [bare.name, ...cells(their)],
      ]),
    )
  } finally {
    for (const side of sides) await side.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

async function pushAll(repo: Repo, side: PushSide, round: string, count: number): Promise<Found> {
  const names = Array.from({ length: count }, (_, i) => `app-${round}-${i}`)
  const remotes = await Promise.all(names.map((name) => side.remote(name)))
  const queuedMs: number[] = []
  const endedMs: number[] = []
  const started = performance.now()
  await Promise.all(
    remotes.map(async (remote) => {
      const { exitCode, text, lines } = await repo.push(remote, ...side.options, 'main')
      endedMs.push(performance.now() - started)
      if (exitCode !== 0) throw new Error(`a push to ${side.name} failed:\n${text}`)
      const queued = side.queued && lines.find((line) => side.queued?.test(line.text))
      if (side.queued && !queued) throw new Error(`a push queued no build:\n${text}`)
      if (queued) queuedMs.push(queued.atMs)
    }),
  )
  return { wholeMs: performance.now() - started, queuedMs, endedMs }
}

function summary(rounds: readonly Found[]) {
  const queued = rounds.flatMap(({ queuedMs }) => queuedMs)
  const ended = rounds.flatMap(({ endedMs }) => endedMs)
  return {
    rate: perSecond(
      ended.length,
      rounds.reduce((sum, { wholeMs }) => sum + wholeMs, 0),
    ),
    queued,
    ended,
    endedP50: percentile(ended, 0.5),
  }
}

function cells({ rate, queued, ended, endedP50 }: ReturnType<typeof summary>): string[] {
  const both = (values: readonly number[]) =>
    values.length === 0 ? ['', ''] : [0.5, 0.99].map((p) => shortMs(percentile(values, p)))
  return [rate, ...both(queued), shortMs(endedP50), shortMs(percentile(ended, 0.99))]
}
