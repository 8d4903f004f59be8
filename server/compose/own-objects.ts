// A worker works with the objects of its server, and with no others.
import { installationId } from '../db/installation.ts'
import { requireOwner } from '../objects/owner.ts'
import type { Core } from './core.ts'

export async function requireOwnObjects({ db, objects, objectsLocation: location }: Core) {
  await requireOwner({ objects, location, installation: await installationId(db) })
}
