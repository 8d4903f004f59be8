// The hosted bare repositories, one per app, owned by the git user.
import fs from 'node:fs'
import { chmod, chown, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import isomorphic from 'isomorphic-git'
import { BRANCHES } from '../apps/branch-name.ts'
import { exists } from '../setup/cache.ts'
import type { GitUser } from './git-user.ts'
import type { RefUpdate } from './pkt-line.ts'
import { movesWithin } from './ref-log.ts'

/** git's folder for the objects of a push that is not accepted yet. */
const QUARANTINE_PREFIX = 'tmp_objdir-incoming-'
/** Where refs are that clients may move. */
export const HOSTED = [BRANCHES, 'refs/tags/']

export type Repositories = ReturnType<typeof createRepositories>

export function createRepositories({ root, git }: { root: string; git: GitUser }) {
  const path = (appId: string) => join(root, `${appId}.git`)
  return {
    path,
    exists: (appId: string) => exists(join(path(appId), 'HEAD')),

    /** Also fine when it is there. */
    async create(appId: string): Promise<void> {
      await mkdir(root, { recursive: true, mode: 0o700 })
      await chmod(root, 0o700)
      if (git.user) await chown(root, git.user.uid, git.user.gid)
      await git.run(['init', '--quiet', '--bare', '--initial-branch=main', path(appId)])
    },

    async remove(appId: string): Promise<void> {
      await rm(path(appId), { recursive: true, force: true })
    },

    /** Removes what pushes that died with an earlier server have left; call it before the first push. */
    async sweep(): Promise<number> {
      let swept = 0
      for (const name of await readdir(root).catch(() => [])) {
        const objects = join(root, name, 'objects')
        const left = (await readdir(objects).catch(() => [])).filter((entry) =>
          entry.startsWith(QUARANTINE_PREFIX),
        )
        for (const entry of left) await rm(join(objects, entry), { recursive: true, force: true })
        swept += left.length
      }
      return swept
    },

    /** The commit a ref is at. */
    async tip(appId: string, ref: string): Promise<string | undefined> {
      // Two files are looked at; git itself would be a process per branch and minute.
      return isomorphic
        .resolveRef({ fs, gitdir: path(appId), ref })
        .catch((error: { code?: string }) => {
          if (error.code === 'NotFoundError') return undefined
          throw error
        })
    },

    /** The moves of a ref that `whole` is made of, as far as git knows. */
    moves: (appId: string, whole: RefUpdate): Promise<RefUpdate[]> =>
      movesWithin(join(path(appId), 'logs', whole.ref), whole),

    /** Also fine when the app or the tags are no more. */
    async removeBuildTags(appId: string, buildIds: readonly string[]): Promise<void> {
      if (!(await exists(join(path(appId), 'HEAD')))) return
      const input = buildIds.map((id) => `delete refs/tags/builds/${id}\n`).join('')
      await git.run(['-C', path(appId), 'update-ref', '--stdin'], { input })
    },

    /** Full names of all branches. */
    async branches(appId: string): Promise<string[]> {
      const args = ['for-each-ref', '--format=%(refname)', BRANCHES]
      const names = await git.run(['-C', path(appId), ...args])
      return names.split('\n').filter((name) => name !== '')
    },

    /** Whether a commit can be reached from one of these refs; from any branch or tag when none are named. */
    async holds(appId: string, commit: string, refs: readonly string[] = HOSTED): Promise<boolean> {
      const args = ['for-each-ref', '--count=1', `--contains=${commit}`, '--format=x', ...refs]
      return (await git.run(['-C', path(appId), ...args])) !== ''
    },

    /** Whether a file is in a commit. */
    async hasFile(appId: string, commit: string, file: string): Promise<boolean> {
      const args = ['ls-tree', '-z', '--full-tree', commit, '--', file]
      const entries = await git.run(['-C', path(appId), ...args])
      return /^\d+ blob /.test(entries)
    },
  }
}
