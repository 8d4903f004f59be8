// git's own record of how a branch has moved. It is written with the move, so it knows of a push that nobody could
// tell the server of.
import { open } from 'node:fs/promises'
import { REF_LOG_READ_BYTES } from '../limits.ts'
import type { RefUpdate } from './pkt-line.ts'

const LINE = /^([0-9a-f]{40}) ([0-9a-f]{40}) /

/** The moves that `whole` is made of, in their order: itself alone, where the file does not know. */
export async function movesWithin(file: string, whole: RefUpdate): Promise<RefUpdate[]> {
  const { ref, oldSha, newSha } = whole
  const moves: RefUpdate[] = []
  let to = newSha
  for (const line of (await readEnd(file)).split('\n').reverse()) {
    const [, before = '', after = ''] = LINE.exec(line) ?? []
    // A move that failed after it was written down leads nowhere.
    if (after !== to || before === after) continue
    moves.unshift({ ref, oldSha: before, newSha: after })
    to = before
    if (to === oldSha) return moves
  }
  return [whole]
}

/** Empty when there is no such file. */
async function readEnd(file: string): Promise<string> {
  const handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
  if (!handle) return ''
  try {
    const { size } = await handle.stat()
    const length = Math.min(size, REF_LOG_READ_BYTES)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.toString('latin1', 0, bytesRead)
  } finally {
    await handle.close()
  }
}
