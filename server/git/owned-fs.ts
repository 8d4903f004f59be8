// The file functions isomorphic-git needs to write into a repository that belongs to the git user: what is
// made belongs to that user from the moment it has its name, and no link leads a write out of the repository.
import { randomUUID } from 'node:crypto'
import {
  chown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import type { UserIds } from '../setup/users.ts'

/** `user` null = files belong to the caller. */
export function createOwnedFs(gitdir: string, user: UserIds | null) {
  /** A new name beside `path`; the folder is where it seems to be. */
  async function beside(path: string): Promise<string> {
    const [root, folder] = await Promise.all([realpath(gitdir), realpath(dirname(path))])
    if (folder !== root && !folder.startsWith(root + sep)) {
      throw new Error(`${path} leads out of the repository: a link in it points to ${folder}`)
    }
    return join(folder, `.${basename(path)}.${randomUUID()}`)
  }

  async function writeOwned(path: string, content: string | Uint8Array): Promise<void> {
    const temporary = await beside(path)
    const file = await open(temporary, 'wx', 0o644)
    try {
      await file.writeFile(content)
      if (user) await file.chown(user.uid, user.gid)
      await file.sync()
      await file.close()
      await rename(temporary, path)
    } catch (error) {
      await file.close().catch(() => {}) // closed already when the rename failed
      await rm(temporary, { force: true })
      throw error
    }
  }

  async function mkdirOwned(path: string): Promise<void> {
    const temporary = await beside(path)
    await mkdir(temporary)
    try {
      if (user) await chown(temporary, user.uid, user.gid)
      await rename(temporary, path)
    } catch (error) {
      await rmdir(temporary)
      // Made by git in the meantime, and in use: just as good.
      const code = (error as NodeJS.ErrnoException).code
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
    }
  }

  return {
    lstat,
    mkdir: mkdirOwned,
    readFile,
    readdir,
    readlink,
    rmdir,
    stat,
    symlink,
    unlink,
    writeFile: writeOwned,
  }
}
