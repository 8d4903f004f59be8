// Annotated tags on hosted commits, written by isomorphic-git. The parts of it that look at the tagged commit
// are left out: they would read whole packs into memory.
import git from 'isomorphic-git'
import type { UserIds } from '../setup/users.ts'
import { createOwnedFs } from './owned-fs.ts'

const TAGGER = { name: 'hypeman', email: 'builds@hypeman.invalid', timezoneOffset: 0 }

export interface TagOptions {
  gitdir: string
  /** Without `refs/tags/`. */
  name: string
  commit: string
  message: string
  /** Default: now. */
  when?: Date
  /** Owner of the repository. */
  user: UserIds | null
}

/** Does nothing when the tag is there; throws when it is there for another commit. */
export async function tagCommit(options: TagOptions): Promise<void> {
  const { gitdir, name, commit, message, when = new Date(), user } = options
  const fs = { promises: createOwnedFs(gitdir, user) }
  const ref = `refs/tags/${name}`
  const tagger = { ...TAGGER, timestamp: Math.floor(when.getTime() / 1000) }
  const tag = { object: commit, type: 'commit' as const, tag: name, tagger, message }
  try {
    const value = await git.writeTag({ fs, gitdir, tag })
    await git.writeRef({ fs, gitdir, ref, value })
  } catch (error) {
    if ((error as { code?: string }).code !== 'AlreadyExistsError') throw error
    const oid = await git.resolveRef({ fs, gitdir, ref })
    const { tag: present } = await git.readTag({ fs, gitdir, oid })
    if (present.object === commit) return
    throw new Error(`the tag ${name} is on ${present.object} already, so it can't be on ${commit}`)
  }
}
