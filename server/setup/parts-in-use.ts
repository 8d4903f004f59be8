// Which parts of a cache are used, so that old versions can go: each use touches the part's folder, and a running
// server keeps a file `.servers/<pid>` beside them that names what it has. Several servers may share a cache.
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PARTS_HOLD_INTERVAL_MS } from '../limits.ts'
import { processIdentity } from './lock-file.ts'

const SERVERS = '.servers'

/** Folders of parts that this process has used. */
const used = new Set<string>()

/** Touches and remembers the folder of a part; false when it is not there. */
export async function markUsed(folder: string): Promise<boolean> {
  const now = new Date()
  try {
    await utimes(folder, now, now)
  } catch (error) {
    // A cache that only others may write is kept by them.
    if (!(await stat(folder).catch(() => undefined))) return false
    if (!isForbidden(error)) throw error
  }
  used.add(folder)
  return true
}

/** Says to others that this process uses its parts, for as long as it runs. Returns what ends that. */
export async function holdParts(onError: (error: unknown) => void): Promise<() => Promise<void>> {
  const hold = () => writeHolds().catch(onError)
  await hold()
  let holding = Promise.resolve()
  const timer = setInterval(() => {
    holding = hold()
  }, PARTS_HOLD_INTERVAL_MS)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await holding
    for (const dir of byDir().keys()) await rm(holdFile(dir), { force: true })
  }
}

/** Names of the folders in `dir` that a server has: one that lives, or said so lately. */
export async function heldParts(dir: string, isOld: (mtimeMs: number) => boolean) {
  const held = new Set<string>()
  for (const pid of await readdir(join(dir, SERVERS)).catch(() => [])) {
    const file = join(dir, SERVERS, pid)
    const found = await stat(file).catch(() => undefined)
    if (!found) continue
    const [identity = '', ...names] = (await readFile(file, 'utf8').catch(() => '')).split('\n')
    const isAlive = (await processIdentity(Number(pid))) === identity
    // Of another machine or container its process can't be seen.
    if (isAlive || !isOld(found.mtimeMs)) for (const name of names) held.add(name)
    else await rm(file, { force: true })
  }
  return held
}

async function writeHolds(): Promise<void> {
  const me = await processIdentity(process.pid)
  for (const [dir, names] of byDir()) {
    await mkdir(join(dir, SERVERS), { recursive: true })
    await writeFile(holdFile(dir), [me ?? '', ...names].join('\n'))
    for (const name of names) await markUsed(join(dir, name))
  }
}

const holdFile = (dir: string) => join(dir, SERVERS, String(process.pid))

function byDir(): Map<string, string[]> {
  const dirs = new Map<string, string[]>()
  for (const folder of used) {
    const dir = dirname(folder)
    dirs.set(dir, [...(dirs.get(dir) ?? []), basename(folder)])
  }
  return dirs
}

function isForbidden(error: unknown): boolean {
  return ['EPERM', 'EACCES', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')
}
