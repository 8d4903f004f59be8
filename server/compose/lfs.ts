// Objects of Git LFS, beside the source archives: in the same folder or bucket, under a name of their own.
import { createLfsStore, type LfsStore } from '../lfs/store.ts'
import { below, openObjects } from '../objects/location.ts'
import type { Core } from './core.ts'

export async function openLfs({
  config,
  db,
  paths,
  log,
  releasers,
  requireRoom,
}: Core): Promise<LfsStore> {
  const location = below(config.objects ?? { kind: 'folder', path: paths.objects }, 'lfs')
  const ofLfs = log.child({ mod: 'lfs' })
  const { objects, close } = await openObjects(location, {
    temporary: paths.fetchedLfsObjects,
    log: ofLfs,
    requireRoom,
  })
  releasers.add('storage of git-lfs', close)
  return createLfsStore({ db, objects, log: ofLfs })
}
