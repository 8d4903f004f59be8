// Small builders of rows: a queued build needs no push and no repository to be claimed.
import type { BuildRow, NewBuild } from '../../server/builds/store.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'

let count = 0

export async function givenBuild(db: Db, overrides: Partial<NewBuild> = {}): Promise<BuildRow> {
  return db.transaction((trx) => createBuildStore({ db }).insert(trx, aBuild(overrides)))
}

export function aBuild(overrides: Partial<NewBuild> = {}): NewBuild {
  count += 1
  return {
    id: `build${String(count).padStart(5, '0')}`,
    tenant: 'acme',
    pusher: 'ada',
    request: {},
    sourceKey: 'sources/none',
    sourceHash: `sha256:${'0'.repeat(64)}`,
    sourceBytes: 0,
    ...overrides,
  }
}
