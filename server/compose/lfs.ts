// Objects of Git LFS, beside the source archives: in the same folder or bucket, under a name of their own.
import { createLfsStore, type LfsStore } from '../lfs/store.ts'
import { below, openObjects } from '../objects/location.ts'
import { claimObjects } from '../objects/owner.ts'
import type { Core } from './core.ts'

export async function openLfs(core: Core, installation: string): Promise<LfsStore> {
  const { db, paths, log, releasers, requireRoom } = core
  const location = below(core.objectsLocation, 'lfs')
  const ofLfs = log.child({ mod: 'lfs' })
  const { objects, close } = await openObjects(location, {
    temporary: paths.fetchedLfsObjects,
    log: ofLfs,
    requireRoom,
  })
  releasers.add('storage of git-lfs', close)
  await claimObjects({ objects, location, installation })
  return createLfsStore({ db, objects, log: ofLfs })
}
