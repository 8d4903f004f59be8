// The registry tag of a branch. A name that is a tag already is its own; any other, and one that looks like what is
// made here or like the tag of an image's referrers, becomes a readable form of it and a hash of the whole name: so no
// two branches share a tag.
import { createHash } from 'node:crypto'
import { isTag } from '../registry/names.ts'

const HASH_CHARS = 10
const TAG_CHARS_MAX = 128
const LOOKS_HASHED = new RegExp(`-[0-9a-f]{${HASH_CHARS}}$`)
const LOOKS_REFERRING = /^(sha\d+)-(?=[0-9a-f]{32})/

export function branchTag(branch: string): string {
  const isOdd = LOOKS_HASHED.test(branch) || LOOKS_REFERRING.test(branch)
  if (isTag(branch) && !isOdd) return branch
  const hash = createHash('sha256').update(branch).digest('hex').slice(0, HASH_CHARS)
  const readable = branch
    .replace(LOOKS_REFERRING, '$1_')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[.-]+/, '')
    .slice(0, TAG_CHARS_MAX - HASH_CHARS - 1)
  return readable === '' ? hash : `${readable}-${hash}`
}
