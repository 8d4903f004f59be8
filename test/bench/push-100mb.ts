// A push of 100 MB that does not compress, beside git http-backend in the same run: until git ends, when its build
// is queued, and to a branch that is stored only, which is all that http-backend does.
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeRepo, type Repo } from '../helpers/repo.ts'
import { percentile, shortMs, table, times } from './figures.ts'
import { forgetPeak, memoryOf } from './memory.ts'
import { bareToPush, oursToPush, type PushSide } from './push-sides.ts'

const MiB = 1024 ** 2
const ROUNDS = 3
const FILES = 100
const KINDS = { stored: 'main:refs/heads/topic', built: 'main' }
type Kind = keyof typeof KINDS

export async function run(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  const sides = await Promise.all([oursToPush(), bareToPush()])
  const [ours, bare] = sides
  try {
    const repo = await incompressible(dir)
    const found = { stored: [] as number[], built: [] as number[], bare: [] as number[] }
    const grown = { stored: 0, built: 0, bare: 0 }
    for (let round = 1; round <= ROUNDS; round += 1) {
      process.stderr.write(`bench: round ${round} of ${ROUNDS}\n`)
      for (const [name, side, kind] of [
        ['stored', ours, 'stored'],
        ['bare', bare, 'built'],
        ['built', ours, 'built'],
      ] as const) {
        const { ms, grownBy } = await pushed(repo, side, kind, `${name}-${round}`)
        found[name].push(ms)
        grown[name] = Math.max(grown[name], grownBy)
      }
    }
    const line = (name: keyof typeof found, what: string) => {
      const p50 = percentile(found[name], 0.5)
      const ratio = times(p50, percentile(found.bare, 0.5))
      const megabytes = `${Math.round(grown[name] / MiB)} MiB`
      return [what, shortMs(p50), shortMs(Math.max(...found[name])), ratio, megabytes]
    }
    console.log(`${FILES} MiB in ${FILES} files, ${ROUNDS} pushes each`)
    console.log(
      table([
        ['push', 'p50', 'longest', 'ratio', "server's memory grew by"],
        line('bare', bare.name),
        line('stored', `${ours.name}, stored`),
        line('built', `${ours.name}, archived and queued`),
      ]),
    )
  } finally {
    for (const side of sides) await side.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

async function incompressible(dir: string): Promise<Repo> {
  const repo = await makeRepo(dir)
  // Both sides get a pack that costs the client next to nothing.
  await repo.git('config', 'core.compression', '0')
  await repo.git('config', 'pack.window', '0')
  await repo.write('Dockerfile', 'FROM scratch\nCOPY noise /\n')
  await mkdir(join(dir, 'noise'))
  for (let i = 0; i < FILES; i += 1) await writeFile(join(dir, `noise/${i}`), randomBytes(MiB))
  await repo.commit()
  return repo
}

async function pushed(repo: Repo, side: PushSide, kind: Kind, name: string) {
  const remote = await side.remote(name)
  const before = await memoryOf(side.pid)
  await forgetPeak(side.pid)
  const started = performance.now()
  const { exitCode, text } = await repo.push(remote, ...side.options, KINDS[kind])
  const ms = performance.now() - started
  if (exitCode !== 0) throw new Error(`the push to ${side.name} failed:\n${text}`)
  return { ms, grownBy: (await memoryOf(side.pid)).peak - before.now }
}
