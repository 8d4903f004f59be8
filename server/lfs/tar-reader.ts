// Reads a stream by exact sizes, and what matters here of the headers of a tar archive: git's own are plain
// ustar with pax records, so nothing else has to be understood.
export const BLOCK_BYTES = 512

const SIZE = { at: 124, end: 136 }
const CHECKSUM = { at: 148, end: 156 }

export interface Reader {
  /** Less than asked for at the end of the stream only. */
  take(bytes: number): Promise<Buffer>
  /** The same, in pieces as they come. */
  pass(bytes: number): AsyncGenerator<Buffer>
  /** Whole entries at the beginning of what has come, without waiting for more; `lengthOf` undefined: stop here. */
  skim(lengthOf: (chunk: Buffer, at: number) => number | undefined): Buffer
  /** What was taken last is to come again. */
  putBack(taken: Buffer): void
  /** Ends the stream. */
  close(): Promise<void>
}

export function createReader(source: AsyncIterable<Buffer>): Reader {
  const chunks = source[Symbol.asyncIterator]()
  let chunk = Buffer.alloc(0)

  async function* pass(bytes: number): AsyncGenerator<Buffer> {
    for (let missing = bytes; missing > 0; ) {
      if (chunk.length === 0) {
        const next = await chunks.next()
        if (next.done) return
        chunk = next.value as Buffer<ArrayBuffer>
      }
      const part = chunk.subarray(0, missing)
      chunk = chunk.subarray(part.length)
      missing -= part.length
      if (part.length > 0) yield part
    }
  }

  return {
    pass,
    async take(bytes) {
      const parts: Buffer[] = []
      for await (const part of pass(bytes)) parts.push(part)
      return Buffer.concat(parts)
    },
    skim(lengthOf) {
      let at = 0
      for (;;) {
        const length = lengthOf(chunk, at)
        if (length === undefined || at + length > chunk.length) break
        at += length
      }
      const passed = chunk.subarray(0, at)
      chunk = chunk.subarray(at)
      return passed
    },
    putBack(taken) {
      chunk = Buffer.concat([taken, chunk])
    },
    async close() {
      await chunks.return?.()
    },
  }
}

export interface TarHeader {
  /** `0` a file, `x` records about the next entry, … */
  type: string
  path: string
  bytes: number
}

/** undefined: the block of zeros that ends the archive. */
export function parseHeader(block: Buffer): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined
  const bytes = Number.parseInt(text(block, SIZE.at, SIZE.end), 8)
  if (!Number.isSafeInteger(bytes)) throw new Error('git made an entry of unreadable size')
  const prefix = text(block, 345, 500)
  const name = text(block, 0, 100)
  return {
    type: String.fromCharCode(block[156] || 0x30),
    path: prefix === '' ? name : `${prefix}/${name}`,
    bytes,
  }
}

/** The header of the same entry with content of another size. */
export function resized(block: Buffer, bytes: number): Buffer {
  const header = Buffer.from(block)
  header.write(`${bytes.toString(8).padStart(11, '0')}\0`, SIZE.at, 'latin1')
  header.fill(' ', CHECKSUM.at, CHECKSUM.end)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(7, '0')}\0`, CHECKSUM.at, 'latin1')
  return header
}

/** Bytes that fill the last block of content. */
export function paddingOf(bytes: number): number {
  return (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES
}

/** The path among pax records (`<length> path=<value>\n`). */
export function paxPath(records: Buffer): string | undefined {
  for (let at = 0; at < records.length; ) {
    const length = Number.parseInt(records.toString('latin1', at, at + 20), 10)
    if (!(length > 0)) return undefined
    const [, path] = /^\d+ path=(.*)\n$/s.exec(records.toString('utf8', at, at + length)) ?? []
    if (path !== undefined) return path
    at += length
  }
  return undefined
}

function text(block: Buffer, at: number, end: number): string {
  const field = block.toString('utf8', at, end)
  const nul = field.indexOf('\0')
  return nul === -1 ? field : field.slice(0, nul)
}
