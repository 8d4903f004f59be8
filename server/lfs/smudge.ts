// Puts the content of Git LFS objects where their pointers are in a commit's archive. git itself says which
// files those are: for each with filter=lfs it runs a filter that sets a mark in front of the content.
import { randomBytes } from 'node:crypto'
import { POINTER_BYTES_MAX, type Pointer, parsePointer } from './pointer.ts'
import {
  BLOCK_BYTES,
  createReader,
  paddingOf,
  parseHeader,
  paxPath,
  type Reader,
  resized,
} from './tar-reader.ts'

const PAX_BYTES_MAX = 1024 * 1024
const EMPTY = Buffer.alloc(0)

/** What a pointer stands for. Throws AppError when the app does not have it. */
export type LfsContent = (path: string, pointer: Pointer) => Promise<AsyncIterable<Uint8Array>>

export interface Smudge {
  /** Settings for `git archive`. */
  gitArgs: string[]
  /** Any other archive passes through byte by byte; `withEnd`: nothing follows it. */
  pass(archive: AsyncIterable<Buffer>, withEnd: boolean): AsyncGenerator<Buffer>
}

export function createSmudge(content: LfsContent): Smudge {
  // Unknown to whoever wrote the commit, so that no file can claim to be marked.
  const mark = `${randomBytes(16).toString('hex')}\n`
  return {
    gitArgs: [
      ...['-c', `filter.lfs.smudge=echo ${mark.trim()} && cat`],
      ...['-c', 'filter.lfs.required=true'],
    ],
    async *pass(archive, withEnd) {
      const reader = createReader(archive)
      try {
        yield* smudge(reader, Buffer.from(mark), content)
        for await (const end of reader.pass(Number.POSITIVE_INFINITY)) if (withEnd) yield end
      } finally {
        await reader.close()
      }
    },
  }
}

/** Everything before the end of the archive. */
async function* smudge(reader: Reader, mark: Buffer, content: LfsContent): AsyncGenerator<Buffer> {
  let longPath: string | undefined
  const plain = plainEntry(mark)
  for (;;) {
    const passed = longPath === undefined ? reader.skim(plain) : EMPTY
    if (passed.length > 0) yield passed
    const block = await reader.take(BLOCK_BYTES)
    const header = block.length < BLOCK_BYTES ? undefined : parseHeader(block)
    if (!header) return reader.putBack(block)
    const { type, bytes } = header
    if (type === '0') {
      yield* smudgeFile(reader, { block, path: longPath ?? header.path, bytes }, mark, content)
      longPath = undefined
      continue
    }
    yield block
    const whole = bytes + paddingOf(bytes)
    if (type === 'x') {
      if (bytes > PAX_BYTES_MAX) throw new Error(`git wrote ${bytes} bytes of pax records`)
      const records = await reader.take(whole)
      longPath = paxPath(records.subarray(0, bytes))
      yield records
    } else {
      yield* reader.pass(whole)
      if (type !== 'g') longPath = undefined
    }
  }
}

/** The length of a file without the mark: of 100,000 small ones none is worth a turn of its own. */
function plainEntry(mark: Buffer) {
  return (chunk: Buffer, at: number): number | undefined => {
    const content = at + BLOCK_BYTES
    if (chunk.length < content + mark.length) return undefined
    const header = parseHeader(chunk.subarray(at, content))
    if (header?.type !== '0') return undefined
    if (chunk.subarray(content, content + mark.length).equals(mark)) return undefined
    return BLOCK_BYTES + header.bytes + paddingOf(header.bytes)
  }
}

interface FileEntry {
  block: Buffer
  path: string
  bytes: number
}

async function* smudgeFile(
  reader: Reader,
  { block, path, bytes }: FileEntry,
  mark: Buffer,
  content: LfsContent,
): AsyncGenerator<Buffer> {
  const start = await reader.take(Math.min(bytes, mark.length))
  if (!start.equals(mark)) {
    yield block
    yield start
    yield* reader.pass(bytes - start.length + paddingOf(bytes))
    return
  }
  const left = bytes - mark.length
  const known = left <= POINTER_BYTES_MAX ? await reader.take(left) : undefined
  const pointer = known && parsePointer(known.toString('latin1'))
  const size = pointer?.bytes ?? left
  const from = pointer && (await content(path, pointer))
  yield resized(block, size)
  if (from) yield* exactly(from, size, path)
  else if (known) yield known
  else yield* reader.pass(left)
  await reader.take(paddingOf(bytes))
  yield Buffer.alloc(paddingOf(size))
}

async function* exactly(
  source: AsyncIterable<Uint8Array>,
  bytes: number,
  path: string,
): AsyncGenerator<Buffer> {
  let given = 0
  for await (const chunk of source) {
    given += chunk.length
    yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
  }
  if (given !== bytes) throw new Error(`the object of ${path} has ${given} bytes, not ${bytes}`)
}
