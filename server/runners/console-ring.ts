// The end of a serial console in bounded memory: a guest may print for ever.
export interface ConsoleRing {
  write(chunk: Buffer): void
  /** The last bytes as text; a character cut at the start shows as U+FFFD. */
  text(): string
  /** Resolves when this is printed from now on. */
  printed(words: string): Promise<void>
}

export function createConsoleRing(bytesMax: number): ConsoleRing {
  let chunks: Buffer[] = []
  let bytes = 0
  const waiting = new Set<{ words: string; resolve: () => void }>()

  function text(): string {
    const all = Buffer.concat(chunks)
    return all.subarray(Math.max(0, all.length - bytesMax)).toString('utf8')
  }

  return {
    write(chunk: Buffer): void {
      chunks.push(chunk.length > bytesMax ? chunk.subarray(chunk.length - bytesMax) : chunk)
      bytes += chunks.at(-1)!.length
      // Joined only at twice the bound, so that many small writes stay cheap.
      if (bytes > 2 * bytesMax) {
        const tail = Buffer.concat(chunks).subarray(bytes - bytesMax)
        chunks = [tail]
        bytes = tail.length
      }
      for (const waiter of waiting) {
        if (!text().includes(waiter.words)) continue
        waiting.delete(waiter)
        waiter.resolve()
      }
    },
    text,
    printed: (words) => new Promise((resolve) => waiting.add({ words, resolve })),
  }
}
