// Who a process's parent is, from the kernel: a hook's word for it alone would not do.
import { readFile } from 'node:fs/promises'

/** undefined when there is no such process. */
export async function parentOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // `pid (name) state ppid …`, and the name may hold anything.
  const [, parent] = stat
    .slice(stat.lastIndexOf(')') + 1)
    .trim()
    .split(' ')
  return parent === undefined ? undefined : Number(parent)
}
