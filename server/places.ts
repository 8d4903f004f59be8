// How many of something each key has under way.

export type Places = ReturnType<typeof createPlaces>

export function createPlaces() {
  const counts = new Map<string, number>()
  return {
    taken: (key: string) => counts.get(key) ?? 0,

    /** One for each key; returns what gives them back. */
    take(keys: readonly string[]): () => void {
      for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
      let isBack = false
      return () => {
        if (isBack) return
        isBack = true
        for (const key of keys) {
          const left = (counts.get(key) ?? 1) - 1
          if (left === 0) counts.delete(key)
          else counts.set(key, left)
        }
      }
    },
  }
}
