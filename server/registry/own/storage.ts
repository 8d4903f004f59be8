// Where distribution keeps what on disk (its storage layout v2). Whoever is told that a blob or a manifest is
// there marks its link, so that the garbage collection knows what clients still count on, also after a restart.
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import { isDigest, parseRoute } from '../names.ts'

export type RegistryStorage = ReturnType<typeof createRegistryStorage>

export function createRegistryStorage(dataDir: string) {
  const root = join(dataDir, 'docker/registry/v2')
  const repositories = join(root, 'repositories')
  const blobs = join(root, 'blobs')

  function linkFile(repo: string, kind: 'layer' | 'manifest', digest: string): string {
    const folder = kind === 'layer' ? '_layers' : '_manifests/revisions'
    return join(repositories, repo, folder, ...split(digest), 'link')
  }

  return {
    repositories,
    blobs,
    /** What is no longer the registry's, on the same file system. */
    trash: join(dataDir, 'trash'),
    repository: (repo: string) => join(repositories, repo),

    blobFolder(digest: string): string {
      const [algorithm, hex] = split(digest)
      return join(blobs, algorithm, hex.slice(0, 2), hex)
    },

    /**
     * Marks the link that a positive answer speaks of; false when it was collected meanwhile. One call to the
     * kernel, and synchronous: the collection looks and removes in one turn of the event loop as well.
     */
    sawAnswer(path: string, digestOfReply: unknown): boolean {
      const route = parseRoute(path.split('?', 1)[0] ?? '')
      if (route?.kind === 'blob') return touch(linkFile(route.repo, 'layer', route.digest))
      if (route?.kind !== 'manifest') return true
      const digest = isDigest(route.reference) ? route.reference : digestOfReply
      if (typeof digest !== 'string' || !isDigest(digest)) return true
      return touch(linkFile(route.repo, 'manifest', digest))
    },
  }
}

/** `sha256:ab…` → its algorithm and the rest. */
export function split(digest: string): [string, string] {
  const colon = digest.indexOf(':')
  return [digest.slice(0, colon), digest.slice(colon + 1)]
}

function touch(file: string): boolean {
  const now = new Date()
  try {
    utimesSync(file, now, now)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
