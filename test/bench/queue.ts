// How long taking one job lasts, beside pg-boss and graphile-worker on the same PostgreSQL: as many workers as said,
// each taking and ending one after the other. Ours are of 100 tenants, dealt out fairly, with
// lease, slot and log event; theirs are one plain queue.
import { percentile, shortMs, table } from './figures.ts'
import { startOwnPostgres } from './own-postgres.ts'
import { graphileWorker, ours, pgBoss, type Side } from './queue-sides.ts'

const CLAIMS = 300
const WORKERS = [1, 4, 16]
const QUEUED = [1_000, 100_000]
const POSITIONS = 50

export async function run(): Promise<void> {
  const postgres = await startOwnPostgres()
  const sides: Side[] = []
  try {
    sides.push(await ours(await postgres.database('ours')))
    sides.push(await pgBoss(await postgres.database('boss')))
    sides.push(await graphileWorker(await postgres.database('graphile')))
    console.log(`${CLAIMS} claims each`)
    for (const queued of QUEUED) {
      const out = [['queued', 'workers', 'queue', 'claim p50', 'p99', 'p50 to ours']]
      for (const workers of WORKERS) out.push(...(await compare(sides, queued, workers)))
      console.log(table(out))
    }
  } finally {
    for (const side of sides) await side.stop()
    await postgres.stop()
  }
}

async function compare(sides: readonly Side[], queued: number, workers: number) {
  const lines: string[][] = []
  let first: number | undefined
  for (const side of sides) {
    // Of very many, those taken are no difference.
    if (workers === 1 || queued < 100 * CLAIMS) await side.fill(queued)
    const each = await measure(side, workers)
    const p50 = percentile(each, 0.5)
    first ??= p50
    const ratio = `${(p50 / first).toPrecision(2)}x`
    const cells = [side.name, shortMs(p50), shortMs(percentile(each, 0.99)), ratio]
    lines.push([String(queued), String(workers), ...cells])
    if (side.position && workers === 1) {
      const asked = await repeated(POSITIONS, side.position)
      const name = `${side.name}, position`
      const numbers = [shortMs(percentile(asked, 0.5)), shortMs(percentile(asked, 0.99))]
      lines.push([String(queued), '', name, ...numbers])
    }
  }
  return lines
}

async function measure(side: Side, workers: number): Promise<number[]> {
  const each: number[] = []
  let left = CLAIMS
  const work = async (worker: string) => {
    while (left > 0) {
      left -= 1
      const before = performance.now()
      const end = await side.take(worker)
      each.push(performance.now() - before)
      await end()
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, i) => work(`w${i}`)))
  return each
}

async function repeated(times: number, once: () => Promise<unknown>): Promise<number[]> {
  const each: number[] = []
  for (let i = 0; i < times; i += 1) {
    const before = performance.now()
    await once()
    each.push(performance.now() - before)
  }
  return each
}
