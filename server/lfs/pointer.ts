// The small text that stands in a commit for the content of a file kept by Git LFS.
import { z } from 'zod'

export const POINTER_BYTES_MAX = 1024

/** SHA-256 of the content, in hexadecimal. */
export const Oid = z
  .string()
  .regex(/^[0-9a-f]{64}$/, { error: 'must be a sha256 in 64 lower-case hexadecimal digits' })

export interface Pointer {
  oid: string
  bytes: number
}

const POINTER =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\r?\noid sha256:([0-9a-f]{64})\r?\nsize (\d{1,15})\r?\n?$/

/** undefined: it is content of its own, as git-lfs takes it too. */
export function parsePointer(text: string): Pointer | undefined {
  const [, oid, size] = POINTER.exec(text) ?? []
  return oid === undefined ? undefined : { oid, bytes: Number(size) }
}
