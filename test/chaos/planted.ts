// Faults that are planted in rows, each with the way back.
import type { Db } from '../../server/db/pool.ts'

export type Undo = () => Promise<unknown>

/** One row. */
export async function changed(
  db: Db,
  table: string,
  where: Record<string, unknown>,
  set: Record<string, unknown>,
): Promise<Undo> {
  const found = await db(table)
    .where(where)
    .select(...Object.keys(set))
  const [before] = found
  if (found.length !== 1) throw new Error(`${found.length} rows of ${table} to be changed`)
  await db(table).where(where).update(set)
  return () =>
    db(table)
      .where({ ...where, ...set })
      .update(before)
}

export async function removed(
  db: Db,
  table: string,
  where: Record<string, unknown>,
): Promise<Undo> {
  const gone = await db(table).where(where).delete().returning('*')
  if (gone.length !== 1) throw new Error(`${gone.length} rows of ${table} to be removed`)
  return () => db(table).insert(gone)
}

export async function added(db: Db, table: string, row: Record<string, unknown>): Promise<Undo> {
  const [{ id }] = await db(table).insert(row).returning('id')
  return () => db(table).where({ id }).delete()
}

export const all =
  (...undos: Undo[]): Undo =>
  async () => {
    for (const undo of undos.reverse()) await undo()
  }
