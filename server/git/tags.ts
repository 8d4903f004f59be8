// Annotated tags on hosted commits, written by isomorphic-git; the files end up owned by the git user.
import fs from 'node:fs'
import { chown } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import git from 'isomorphic-git'
import type { UserIds } from '../setup/users.ts'

const TAGGER = { name: 'hypeman', email: 'builds@hypeman.invalid', timezoneOffset: 0 }

export interface TagOptions {
  gitdir: string
  /** Without `refs/tags/`. */
  name: string
  commit: string
  message: string
  user: UserIds | null
}

/** Does nothing when the tag is there. */
export async function tagCommit({
  gitdir,
  name,
  commit,
  message,
  user,
}: TagOptions): Promise<void> {
  const timestamp = Math.floor(Date.now() / 1000)
  const tagger = { ...TAGGER, timestamp }
  try {
    await git.annotatedTag({ fs, gitdir, ref: name, object: commit, message, tagger })
  } catch (error) {
    if ((error as { code?: string }).code !== 'AlreadyExistsError') throw error
  }
  if (!user) return
  const ref = join(gitdir, 'refs/tags', name)
  const oid = await git.resolveRef({ fs, gitdir, ref: `refs/tags/${name}` })
  const object = join(gitdir, 'objects', oid.slice(0, 2), oid.slice(2))
  for (const path of [dirname(object), object, dirname(ref), ref]) {
    await chown(path, user.uid, user.gid).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error // packed in the meantime
    })
  }
}
