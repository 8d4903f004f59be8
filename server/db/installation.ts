// The name of this installation: made once for its database, so that what lies elsewhere can say whose it is.
import { createId } from '@paralleldrive/cuid2'
import type { Db } from './pool.ts'

export async function installationId(db: Db): Promise<string> {
  await db('installation').insert({ id: createId() }).onConflict().ignore()
  const { id } = await db('installation').first('id')
  return id
}
