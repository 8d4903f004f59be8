// An uploaded source archive on its way into the store: hashed as sent, unzipped, checked, and staged, all
// while it arrives. On any failure nothing is left.
import { createHash } from 'node:crypto'
import { AppError } from '../errors.ts'
import { SOURCE_BYTES_MAX, SOURCE_ENTRIES_MAX, SOURCE_EXPANDED_BYTES_MAX } from '../limits.ts'
import type { Objects, StagedObject } from '../objects/objects.ts'
import { type ArchiveFacts, createArchiveCheck } from './archive-check.ts'
import { expand } from './expand.ts'

export interface UploadLimits {
  /** As sent. */
  bytesMax: number
  /** Unzipped. */
  expandedBytesMax: number
  entriesMax: number
}

export const UPLOAD_LIMITS: UploadLimits = {
  bytesMax: SOURCE_BYTES_MAX,
  expandedBytesMax: SOURCE_EXPANDED_BYTES_MAX,
  entriesMax: SOURCE_ENTRIES_MAX,
}

export interface UploadedSource {
  /** The plain tar archive. */
  staged: StagedObject
  /** `sha256:<hex>` of what was sent. */
  hash: string
  facts: ArchiveFacts
}

/** undefined: nothing was sent. Throws AppError `invalid_source` or `source_too_large`. */
export async function stageUpload(
  upload: AsyncIterable<Buffer>,
  objects: Pick<Objects, 'stage'>,
  limits: UploadLimits = UPLOAD_LIMITS,
): Promise<UploadedSource | undefined> {
  const sent = createMeter(limits.bytesMax)
  const check = createArchiveCheck({
    limits: { bytesMax: limits.expandedBytesMax, entriesMax: limits.entriesMax },
    maker: 'upload',
  })
  const staged = await objects.stage(check.pass(expand(sent.pass(upload))))
  if (sent.bytes() > 0) return { staged, hash: sent.hash(), facts: check.facts() }
  await staged.discard()
  return undefined
}

function createMeter(bytesMax: number) {
  const hash = createHash('sha256')
  let bytes = 0
  return {
    async *pass(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of source) {
        bytes += chunk.length
        if (bytes > bytesMax) {
          throw new AppError(
            'source_too_large',
            `source exceeds the maximum size of ${bytesMax} bytes`,
          )
        }
        hash.update(chunk)
        yield chunk
      }
    },
    bytes: () => bytes,
    hash: () => `sha256:${hash.digest('hex')}`,
  }
}
