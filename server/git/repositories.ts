// The hosted bare repositories, one per app, owned by the git user.
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { exists } from '../setup/cache.ts'
import type { GitUser } from './git-user.ts'

export type Repositories = ReturnType<typeof createRepositories>

export function createRepositories({ root, git }: { root: string; git: GitUser }) {
  const path = (appId: string) => join(root, `${appId}.git`)
  return {
    path,
    exists: (appId: string) => exists(path(appId)),

    async create(appId: string): Promise<void> {
      await mkdir(root, { recursive: true })
      await chmod(root, 0o700)
      if (git.user) await chown(root, git.user.uid, git.user.gid)
      await git.run(['init', '--quiet', '--bare', '--initial-branch=main', path(appId)])
    },

    async remove(appId: string): Promise<void> {
      await rm(path(appId), { recursive: true, force: true })
    },

    /** Branch → commit. */
    async branches(appId: string): Promise<Map<string, string>> {
      const format = '--format=%(refname) %(objectname)'
      const text = await git.run(['-C', path(appId), 'for-each-ref', format, 'refs/heads/'])
      const pairs = text.split('\n').filter((line) => line !== '')
      return new Map(pairs.map((line) => line.split(' ') as [string, string]))
    },

    /** Whether a file is in a commit. */
    async hasFile(appId: string, commit: string, file: string): Promise<boolean> {
      const args = ['-C', path(appId), 'cat-file', '-t', `${commit}:${file}`]
      return git.run(args).then(
        (type) => type.trim() === 'blob',
        () => false,
      )
    },
  }
}
