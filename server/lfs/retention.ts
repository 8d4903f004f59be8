// Objects of apps that are gone: part of a run of the retention.
import type { RetentionRun } from '../retention/report.ts'
import type { LfsStore } from './store.ts'

export type LfsOrphans = Pick<LfsStore, 'orphans' | 'removeOrphan'>

export function createLfsRetention({ lfs }: { lfs: LfsOrphans }) {
  return {
    async run({ dryRun, report, signal }: RetentionRun): Promise<void> {
      for await (const orphan of lfs.orphans()) {
        if (signal.aborted) return
        const { oid, bytes } = orphan
        const noted = {
          kind: 'orphan',
          name: `lfs/${oid}`,
          reason: 'no app has it',
          bytes,
        } as const
        if (dryRun || (await lfs.removeOrphan(orphan))) report.note(noted)
      }
    },
  }
}
