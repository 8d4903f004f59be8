// What a mirror did for a build, as lines of the build's log.
import { MIRROR_IMAGES_NAMED_MAX } from '../limits.ts'
import type { MirrorEvent } from './mirror.ts'

export type MirrorNotes = ReturnType<typeof createMirrorNotes>

export function createMirrorNotes() {
  const writers = new Map<string, (event: MirrorEvent) => void>()
  return {
    add(event: MirrorEvent): void {
      if (event.buildId !== undefined) writers.get(event.buildId)?.(event)
    },

    /** Each line once, and not endlessly many; ends with what it returns. */
    follow(buildId: string, write: (line: string) => void): () => void {
      const said = new Set<string>()
      const own = (event: MirrorEvent) => {
        const key = `${event.image} ${event.why ?? ''}`
        if (said.has(key) || said.size >= MIRROR_IMAGES_NAMED_MAX) return
        said.add(key)
        write(mirrorLine(event))
      }
      writers.set(buildId, own)
      return () => {
        if (writers.get(buildId) === own) writers.delete(buildId)
      }
    },
  }
}

function mirrorLine({ image, outcome, why }: MirrorEvent): string {
  switch (outcome) {
    case 'fetched':
      return `${image} comes from its registry, through the mirror`
    case 'stored':
      return `${image} comes from the mirror, which has it`
    case 'stale':
      return `warning: ${image} comes from the mirror as it was stored: ${why}`
    case 'refused':
      return `warning: the mirror does not have ${image}: ${why}`
  }
}
