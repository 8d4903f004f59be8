// Names of branches: which git would accept, by the rules of `git check-ref-format --branch`, without git.
import { z } from 'zod'

const BRANCH_BYTES_MAX = 200

export const BRANCHES = 'refs/heads/'

/** undefined for a ref that is no branch. */
export function branchOf(ref: string): string | undefined {
  return ref.startsWith(BRANCHES) ? ref.slice(BRANCHES.length) : undefined
}

export function isBranchName(name: string): boolean {
  if (name === '' || Buffer.byteLength(name) > BRANCH_BYTES_MAX) return false
  if (name === 'HEAD' || name.startsWith('-') || name.endsWith('.')) return false
  // Control characters, space and the characters git gives a meaning of its own.
  if (/[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{/.test(name)) return false
  return name
    .split('/')
    .every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock'))
}

/** The same rules, but for the bytes, as a pattern for the API document. */
export const BRANCH_NAME_PATTERN =
  /^(?!HEAD$)(?![-./])(?!.*(?:\.\.|@\{|\/[./]|\.lock(?:\/|$)|[./]$))[^\u0000-\u0020\u007f~^:?*[\\]+$/

export const BranchName = z
  .string()
  .refine(isBranchName, { error: 'must be a branch name git accepts, without refs/heads/' })
  .meta({ pattern: BRANCH_NAME_PATTERN.source, maxLength: BRANCH_BYTES_MAX, examples: ['main'] })
