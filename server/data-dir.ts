// The data folder can be walked by the unprivileged users, who own what they need below it.
import { chmod, mkdir } from 'node:fs/promises'
import type { Paths } from './paths.ts'
import { isReachable } from './setup/stage.ts'

/** `hasOtherUsers`: parts run as users of their own, which they do when the server is root. */
export async function makeFolders(
  { dataDir, run }: Pick<Paths, 'dataDir' | 'run'>,
  { hasOtherUsers }: { hasOtherUsers: boolean },
): Promise<void> {
  for (const dir of [dataDir, run]) {
    await mkdir(dir, { recursive: true })
    await chmod(dir, 0o711)
  }
  if (hasOtherUsers && !(await isReachable(dataDir))) {
    throw new Error(
      `DATA_DIR=${dataDir} lies below a folder that only its owner may enter, but PostgreSQL, git and builds run as users of their own. Choose another DATA_DIR, or chmod o+x the folders above it.`,
    )
  }
}
