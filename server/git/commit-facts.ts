// Facts of a commit: by isomorphic-git where its way of reading whole packs is cheap, else by git itself.
import fs from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import git from 'isomorphic-git'
import type { GitUser } from './git-user.ts'

/** isomorphic-git reads a pack into memory as a whole. */
const PACK_BYTES_READ_MAX = 64 * 1024 * 1024

export interface CommitFacts {
  /** Committer's time in seconds since the epoch. */
  committedAt: number
  /** First line of the message. */
  subject: string
}

export async function commitFacts(
  user: GitUser,
  gitdir: string,
  oid: string,
): Promise<CommitFacts> {
  if ((await largestPack(gitdir)) <= PACK_BYTES_READ_MAX) {
    const { commit } = await git.readCommit({ fs, gitdir, oid })
    const [subject = ''] = commit.message.split('\n')
    return { committedAt: commit.committer.timestamp, subject }
  }
  const text = await user.run(['-C', gitdir, 'show', '--no-patch', '--format=%ct %s', oid])
  const [, seconds = '0', subject = ''] = /^(\d+) (.*)/.exec(text) ?? []
  return { committedAt: Number(seconds), subject }
}

async function largestPack(gitdir: string): Promise<number> {
  const dir = join(gitdir, 'objects/pack')
  const names = await readdir(dir).catch(() => [])
  const packs = names.filter((name) => name.endsWith('.pack'))
  const sizes = await Promise.all(packs.map(async (name) => (await stat(join(dir, name))).size))
  return Math.max(0, ...sizes)
}
