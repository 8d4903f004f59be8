// Builder image → unpacked root folder, for runners without a machine of their own. Once per image, made from
// the same read-only disk that microVMs boot from; nobody in a sandbox can write there, whatever its user.
import { lstat, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type Cache, SetupError } from '../setup/cache.ts'
import type { BuilderDisk } from './builder-disk.ts'

const UNPACK_DEADLINE_MS = 600_000
/** Where the sandbox has mounts of its own; the root is read-only then. */
const MOUNT_POINTS = ['config', 'src', 'var/lib/buildkit']
/** What the machine has in these files must not be seen in a sandbox, and there is no network but loopback. */
const FILES = { 'etc/hosts': '127.0.0.1 localhost builder\n::1 localhost\n', 'etc/resolv.conf': '' }

export async function builderRoot(
  { disk, digest }: BuilderDisk,
  { cache, unsquashfs }: { cache: Cache; unsquashfs: string },
): Promise<string> {
  const dir = await cache.part({
    name: 'builder-root',
    version: digest.replace('sha256:', '').slice(0, 16),
    title: 'builder image: unpacked for sandboxes, about 3 s',
    repair: 'npm run setup',
    build: async (into) => {
      const root = join(into, 'root')
      const args = ['-quiet', '-no-progress', '-dest', root, disk]
      await execa(unsquashfs, args, { timeout: UNPACK_DEADLINE_MS })
      for (const path of MOUNT_POINTS) await makeFolder(root, path)
      for (const [path, text] of Object.entries(FILES)) {
        await makeFolder(root, 'etc')
        await rm(join(root, path), { force: true })
        await writeFile(join(root, path), text, { flag: 'wx', mode: 0o644 })
      }
    },
  })
  return join(dir, 'root')
}

/** Link by link of the path, since a link in the image would lead out of it, to files of this machine. */
async function makeFolder(root: string, path: string): Promise<void> {
  let folder = root
  for (const name of path.split('/')) {
    folder = join(folder, name)
    await mkdir(folder, { mode: 0o755 }).catch(() => {})
    if ((await lstat(folder)).isDirectory()) continue
    throw new SetupError(`builder image: /${path} is not a folder, and a sandbox needs it`)
  }
}
