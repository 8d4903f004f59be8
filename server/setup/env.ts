// What set-up reads from the environment, in one place: it runs before the configuration is validated.
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'

export interface SetupEnv {
  cacheDir: string
  /** Do not ask before installing Debian packages. */
  assumeYes: boolean
  /** A ready initramfs instead of the generated one. */
  baseInitramfs: string | undefined
  /** Folders in which tools are looked for. */
  searchPath: string[]
}

/** Where Debian keeps tools that the PATH of a plain user does not name. */
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']

export function setupEnv(): SetupEnv {
  const { HYPEMAN_CACHE, XDG_CACHE_HOME, CI, HYPEMAN_YES, QEMU_BASE_INITRAMFS, PATH } = process.env
  const cacheRoot = XDG_CACHE_HOME || join(homedir(), '.cache')
  const folders = [...(PATH ?? '').split(':'), ...MORE_FOLDERS]
  return {
    cacheDir: resolve(HYPEMAN_CACHE || join(cacheRoot, 'hypeman')),
    assumeYes: CI === 'true' || HYPEMAN_YES === '1' || !process.stdin.isTTY,
    baseInitramfs: QEMU_BASE_INITRAMFS ? resolve(QEMU_BASE_INITRAMFS) : undefined,
    searchPath: [...new Set(folders)].filter(isAbsolute),
  }
}
