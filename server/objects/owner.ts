// Whose storage it is stands in a marker within it: a second installation in the same place would take the objects
// of the first for orphans and delete them.
import { AppError } from '../errors.ts'
import { type ObjectsLocation, showLocation } from './location.ts'
import { type Objects, OWNER_FILE } from './objects.ts'

interface Owned {
  objects: Pick<Objects, 'owner' | 'own'>
  location: ObjectsLocation
  installation: string
}

/** For the server: takes what is nobody's. Throws AppError `conflict`. */
export async function claimObjects({ objects, location, installation }: Owned): Promise<void> {
  let owner = await objects.owner()
  if (owner === undefined) {
    await objects.own(installation)
    owner = await objects.owner()
  }
  if (owner === installation) return
  const where = showLocation(location)
  if (owner === undefined) {
    const message = `OBJECTS: ${where} did not keep the marker ${where}/${OWNER_FILE}: may it be written to?`
    throw new AppError('objects_unavailable', message)
  }
  throw new AppError(
    'conflict',
    `OBJECTS: ${where} is of another installation (${owner}; this one's database says ${installation}), and two in one place delete each other's objects. Set OBJECTS to a folder or prefix of this installation alone. If the other one is no more, or this database is its new one, delete ${where}/${OWNER_FILE} and start again.`,
  )
}

/** For a worker: it must be what the server has claimed. Throws AppError `conflict`. */
export async function requireOwner({ objects, location, installation }: Owned): Promise<void> {
  const owner = await objects.owner()
  if (owner === installation) return
  const whose = owner === undefined ? 'has no marker of any' : `is of another one (${owner})`
  throw new AppError(
    'conflict',
    `OBJECTS: ${showLocation(location)} is not where this installation (${installation}) keeps its objects: it ${whose}. Set OBJECTS of the worker to that of the server.`,
  )
}
