// The cache of parts: one folder per name and version, built once in a temporary folder and renamed into
// place, so that a broken build leaves nothing. Progress goes to stderr; a failure names its repair.
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { lockFile } from './lock-file.ts'
import { markUsed } from './parts-in-use.ts'

export interface Cache {
  dir: string
  /** Returns the folder of the part, building it when it is not there yet. */
  part(spec: PartSpec): Promise<string>
}

export interface PartSpec {
  name: string
  version: string
  /** What people read while they wait: `BuildKit v0.33.1 from Go modules, about 3 min`. */
  title: string
  /** The one command that repairs a failure. */
  repair: string
  build(into: string): Promise<void>
}

/** What happened and, where one exists, the command that repairs it. */
export class SetupError extends Error {
  override name = 'SetupError'
  readonly reason: string
  readonly repair: string | undefined

  constructor(reason: string, repair?: string) {
    super(repair ? `${reason}\nTo repair: ${repair}` : reason)
    this.reason = reason
    this.repair = repair
  }
}

export function say(line: string): void {
  process.stderr.write(`setup: ${line}\n`)
}

export function secondsSince(startedMs: number): string {
  return `${((performance.now() - startedMs) / 1000).toFixed(1)} s`
}

export function createCache(dir: string): Cache {
  return {
    dir,
    async part(spec) {
      const target = join(dir, `${spec.name}-${spec.version}`)
      if (await markUsed(target)) return target
      await mkdir(dir, { recursive: true })
      const unlock = await lockFile(join(dir, `.lock-${spec.name}`), (pid) =>
        say(`${spec.name}: waiting for process ${pid}, which is building it`),
      )
      try {
        if (!(await markUsed(target))) await build(dir, target, spec)
        await markUsed(target)
      } finally {
        await unlock()
      }
      return target
    },
  }
}

/** The same cache for a look only: what is not built is an error that says so, and nothing is built. */
export function readOnlyCache(dir: string): Cache {
  return {
    dir,
    async part({ name, version }) {
      const target = join(dir, `${name}-${version}`)
      if (await exists(target)) return target
      throw new SetupError(`not in ${dir}`, 'npm run setup')
    },
  }
}

async function build(dir: string, target: string, spec: PartSpec): Promise<void> {
  const started = performance.now()
  say(`${spec.title} …`)
  const prefix = `.build-${spec.name}-`
  await removeAll(dir, prefix) // of builders that were killed: we hold the lock
  const temporary = await mkdtemp(join(dir, prefix))
  try {
    await spec.build(temporary)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    if (error instanceof SetupError && error.repair) throw error
    throw new SetupError(`${spec.title} failed: ${reasonOf(error)}`, spec.repair)
  }
  say(`${spec.name} ${spec.version} ready in ${secondsSince(started)}`)
}

/** What a program said last, rather than its command line and everything it said. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { shortMessage, stderr } = error as { shortMessage?: string; stderr?: string }
  if (!shortMessage) return error.message
  const tail = (stderr ?? '').trim().split('\n').slice(-15).join('\n')
  return tail ? `${shortMessage}\n${tail}` : shortMessage
}

async function removeAll(dir: string, prefix: string): Promise<void> {
  for (const entry of await readdir(dir)) {
    if (entry.startsWith(prefix)) await rm(join(dir, entry), { recursive: true, force: true })
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
