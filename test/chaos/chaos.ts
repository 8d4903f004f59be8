// `npm run test:chaos [-- --seed N --minutes M --clients N --workers N --runner bubblewrap|qemu] [--logs FOLDER]`: everything
// is broken at random while clients push and cancel, and every promise must hold afterwards.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { PACES } from './pace.ts'
import { runChaos } from './run.ts'

const wholeNumber = (max: number) => z.coerce.number().int().min(1).max(max)

const Options = z.object({
  seed: wholeNumber(2 ** 31 - 1).default(1 + Math.floor(Math.random() * 1e9)),
  minutes: z.coerce
    .number()
    .positive()
    .max(24 * 60)
    .default(5),
  clients: wholeNumber(50).default(6),
  workers: wholeNumber(16).default(2),
  runner: z.enum(['bubblewrap', 'qemu']).default('bubblewrap'),
  logs: z.string().min(1).optional(),
})

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { seed: text, minutes: text, clients: text, workers: text, runner: text, logs: text },
})
const parsed = Options.safeParse(values)
if (!parsed.success) throw new Error(z.prettifyError(parsed.error))
const { seed, minutes, clients, workers, runner, logs: logsFolder } = parsed.data
const again = `npm run test:chaos -- --seed ${seed} --minutes ${minutes} --clients ${clients} --workers ${workers} --runner ${runner}`

const say = (line: string) => void process.stdout.write(`${line}\n`)
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())

say(`seed ${seed}; once more: ${again}`)
const { findings, summary, logs } = await runChaos({
  seed,
  durationMs: minutes * 60_000,
  clients,
  workers,
  runner,
  gapMs: PACES[runner].gapMs,
  faultMsMax: 40_000,
  isShort: false,
  say,
  logs: logsFolder,
  signal: interrupted.signal,
})
for (const { invariant, what } of findings) say(`\nNOT SO: ${invariant}\n${what}`)
if (logs !== undefined) say(`\nlogs: ${logs}`)
say(`\n${summary.lines.join('\n')}`)
if (summary.missed.length > 0) say(`not met: ${summary.missed.join(', ')}`)
say(`\n${findings.length} findings; seed ${seed}; once more: ${again}`)
process.exitCode = findings.length === 0 ? 0 : 1
