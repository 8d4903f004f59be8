// Old versions of what changes often (agent, builder image and what is made of it) go from a cache when nobody has
// used them for a while. A version that is wanted again is built again.
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PARTS_UNUSED_DAYS } from '../limits.ts'
import { exists } from './cache.ts'
import { lockFile } from './lock-file.ts'
import { heldParts } from './parts-in-use.ts'
import { SYSTEM_CACHE } from './reachable.ts'

/** `agent-<hash>`, `client-<name>-<hash>` (of `npm run test:clients`), `builder-disk-<hash>`, and `builder-<hash>` where unprivileged users can reach it. */
const CHANGING = /^(agent|client-[a-z0-9-]+|builder(?:-image|-disk|-root|-pulled)?)-[0-9a-f]{8,64}$/
const LEFT = '.old-'
const DAY_MS = 24 * 3_600_000

/** The cache, and where parts of it lie for unprivileged users. Returns the paths of what it removed. */
export async function sweepCaches(cacheDir: string): Promise<string[]> {
  const removed: string[] = []
  for (const dir of new Set([cacheDir, SYSTEM_CACHE])) {
    if (!(await exists(dir))) continue
    for (const name of await sweepParts(dir)) removed.push(join(dir, name))
  }
  return removed
}

export interface SweepOptions {
  unusedDays?: number
  now?: number
}

/** Returns the names of what it removed. */
export async function sweepParts(
  dir: string,
  { unusedDays = PARTS_UNUSED_DAYS, now = Date.now() }: SweepOptions = {},
): Promise<string[]> {
  const isOld = (mtimeMs: number) => now - mtimeMs > unusedDays * DAY_MS
  const unlock = await lockFile(join(dir, '.lock-sweep'), () => {})
  try {
    const names = await readdir(dir)
    // Of a sweep that was killed.
    for (const name of names) if (name.startsWith(LEFT)) await remove(join(dir, name))
    const held = await heldParts(dir, isOld)
    const removed: string[] = []
    for (const name of names) {
      if (!CHANGING.test(name) || held.has(name)) continue
      if (await sweepOne(dir, name, isOld)) removed.push(name)
    }
    return removed
  } finally {
    await unlock()
  }
}

async function sweepOne(dir: string, name: string, isOld: (mtimeMs: number) => boolean) {
  const folder = join(dir, name)
  const found = await stat(folder).catch(() => undefined)
  if (!found?.isDirectory() || !isOld(found.mtimeMs)) return false
  // Nobody finds it under its name from here on; somebody who found it just before has touched it.
  const aside = join(dir, `${LEFT}${name}`)
  await rename(folder, aside)
  if (!isOld((await stat(aside)).mtimeMs)) {
    // Unless it was built anew in this moment.
    await rename(aside, folder).catch(() => remove(aside))
    return false
  }
  await remove(aside)
  return true
}

const remove = (path: string) => rm(path, { recursive: true, force: true })
