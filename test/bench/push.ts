// How long a push takes and where the time goes, beside the same Dockerfile built by bare buildctl on the
// host in the same run.

import { bareBuild } from './bare.ts'
import { median, type Sample, table } from './figures.ts'
import { pushOnce, startBenchServer } from './timed-push.ts'

const ROUNDS = 3

export async function run(): Promise<void> {
  const server = await startBenchServer()
  try {
    const samples: Sample[] = []
    for (let round = 1; round <= ROUNDS; round += 1) {
      process.stderr.write(`bench: round ${round} of ${ROUNDS}\n`)
      samples.push({ ...(await pushOnce(server, round)), bareMs: await bareBuild(round) })
    }
    const row = (name: string, pick: (sample: Sample) => number | undefined) => {
      const values = samples.flatMap((sample) => pick(sample) ?? [])
      return values.length === 0
        ? [name, '-', '-']
        : [name, ms(median(values)), values.map(ms).join(' ')]
    }
    const ratios = samples.flatMap(({ readyMs, bareMs }) => (bareMs ? [readyMs / bareMs] : []))
    console.log(
      table([
        ['what', 'median', 'each round'],
        row('push → first line', (sample) => sample.firstLineMs),
        row('push → ready', (sample) => sample.readyMs),
        row('  queue', (sample) => sample.phases.queue_ms),
        row('  VM', (sample) => sample.phases.vm_ms),
        row('  build', (sample) => sample.phases.build_ms),
        row('  image push', (sample) => sample.phases.push_ms),
        row('bare buildctl, same Dockerfile', (sample) => sample.bareMs),
      ]),
    )
    if (ratios.length > 0)
      console.log(`push → ready is ${median(ratios).toFixed(1)} times bare buildctl`)
    else console.log('bare buildctl was left out: it needs root')
  } finally {
    await server.stop()
  }
}

function ms(value: number): string {
  return `${Math.round(value)} ms`
}
