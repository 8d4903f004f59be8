// One thing that goes: deleted and noted, or only noted in a dry run. What cannot be deleted is the next run's.
import type { RegistryClient } from '../registry/client.ts'
import type { Deletion, RetentionRun } from './report.ts'

type To = Pick<RetentionRun, 'dryRun' | 'report'>

/** `remove` says whether it is gone, or how many bytes went. */
export async function deleteOne(
  { dryRun, report }: To,
  deletion: Deletion,
  remove: () => Promise<boolean | { bytes: number }>,
): Promise<void> {
  if (dryRun) return report.note(deletion)
  try {
    const removed = await remove()
    if (removed) report.note(removed === true ? deletion : { ...deletion, ...removed })
  } catch (error) {
    report.fail(deletion.kind, deletion.name, error)
  }
}

/** All that has a tag in the repository that the deletion names; one without any is only forgotten. */
export async function emptyRepository(
  { dryRun, report }: To,
  deletion: Deletion,
  registry: Pick<RegistryClient, 'deleteTags' | 'hasTags'>,
  forget: () => Promise<void>,
): Promise<void> {
  const { kind, name } = deletion
  try {
    if (dryRun) {
      if (await registry.hasTags(name)) report.note(deletion)
      return
    }
    const { count, bytes } = await registry.deleteTags(name)
    await forget()
    if (count > 0) report.note({ ...deletion, bytes })
  } catch (error) {
    report.fail(kind, name, error)
  }
}
