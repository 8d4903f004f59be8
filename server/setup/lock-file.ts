// One process at a time builds a part. The lock is a file that names its holder by pid and start time, so
// that one whose holder is gone (or whose pid belongs to somebody else by now) is taken over.
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 300
/** A holder writes its name at once; a file that stays empty is of one that died in between. */
const NAMELESS_MS_MAX = 5_000

/** Waits for the lock; returns the function that gives it back. */
export async function lockFile(
  path: string,
  onWait: (holder: string) => void,
): Promise<() => Promise<void>> {
  const me = (await processIdentity(process.pid)) ?? `${process.pid} 0`
  for (let told = false; ; ) {
    try {
      await writeFile(path, me, { flag: 'wx' })
      return () => rm(path, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    if (await isAbandoned(path)) {
      await rm(path, { force: true })
      continue
    }
    if (!told) onWait((await readFile(path, 'utf8').catch(() => '')).split(' ')[0] ?? '')
    told = true
    await sleep(POLL_MS)
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const holder = await readFile(path, 'utf8').catch(() => undefined)
  if (holder === undefined) return false
  if (holder !== '') return (await processIdentity(Number(holder.split(' ')[0]))) !== holder
  const made = await stat(path).catch(() => undefined)
  return made !== undefined && Date.now() - made.mtimeMs > NAMELESS_MS_MAX
}

/** `<pid> <start time>` of a living process. */
export async function processIdentity(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The name before the last parenthesis may hold anything; field 22 counts from behind it.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields ? `${pid} ${fields[19]}` : undefined
}
