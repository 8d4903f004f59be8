// Facts of a commit: by isomorphic-git where its way of reading whole packs is cheap, else by git itself.
import fs from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import git from 'isomorphic-git'
import type { GitUser } from './git-user.ts'

/** isomorphic-git reads packs into memory as a whole: 500 MB of pack took 1.2 GB and 2 s. */
const PACK_BYTES_READ_MAX = 8 * 1024 * 1024

export interface CommitFacts {
  /** Committer's time in seconds since the epoch. */
  committedAt: number
}

/** `packBytesMax`: up to this size of all packs together isomorphic-git is asked. */
export async function commitFacts(
  user: GitUser,
  gitdir: string,
  oid: string,
  packBytesMax = PACK_BYTES_READ_MAX,
): Promise<CommitFacts> {
  if ((await packBytes(gitdir)) <= packBytesMax) {
    const { commit } = await git.readCommit({ fs, gitdir, oid })
    return { committedAt: commit.committer.timestamp }
  }
  const text = await user.run(['-C', gitdir, 'show', '--no-patch', '--format=%ct', oid])
  return { committedAt: Number.parseInt(text, 10) }
}

async function packBytes(gitdir: string): Promise<number> {
  const dir = join(gitdir, 'objects/pack')
  const names = await readdir(dir).catch(() => [])
  const packs = names.filter((name) => name.endsWith('.pack'))
  const sizes = await Promise.all(packs.map(async (name) => (await stat(join(dir, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
