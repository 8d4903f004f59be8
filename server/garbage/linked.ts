// Which blobs are linked: what was found in the repositories, and what was written meanwhile.
import { join } from 'node:path'
import type { WriteGate } from '../registry/own/write-gate.ts'
import { type Entry, textOf } from './folders.ts'

export type Linked = ReturnType<typeof watchLinked>

/** Called while no write is under way, so that none is missed. */
export function watchLinked(gate: WriteGate) {
  const found = new Set<string>()
  const written = gate.watchLinks()
  return {
    async add(entries: readonly Entry[]): Promise<void> {
      for (const { digest, folder } of entries) {
        found.add(digest)
        if (digest.startsWith('sha256:')) continue
        // Data lies under its sha256; the link of another name says which.
        const target = await textOf(join(folder, 'link'))
        if (target) found.add(target.trim())
      }
    },
    has: (digest: string) => found.has(digest) || written.has(digest),
    end: () => written.end(),
  }
}
