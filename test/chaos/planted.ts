// Faults that are planted, each with the way back, and what the auditor says to them.
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Db } from '../../server/db/pool.ts'
import type { AuditInput } from './audit/input.ts'
import { audit } from './audit.ts'
import type { Audited } from './audited.ts'

export type Undo = () => Promise<unknown>

export interface Violation {
  plant(given: Audited): Promise<Undo>
  input?(given: Audited): Partial<AuditInput>
  /** Each finding, all of them. */
  found(given: Audited): RegExp[]
}

export async function plantEach(
  t: TestContext,
  given: Audited,
  violations: Record<string, Violation>,
) {
  for (const [name, { plant, input, found }] of Object.entries(violations)) {
    await t.test(name, async () => {
      const undo = await plant(given)
      const findings = await audit({ ...given.input, ...input?.(given) })
      await undo()
      const said = findings.map(({ invariant, what }) => `${invariant}: ${what}`)
      const expected = found(given)
      for (const pattern of expected) {
        assert.ok(
          said.some((text) => pattern.test(text)),
          `${pattern}\n${said.join('\n')}`,
        )
      }
      assert.equal(said.length, expected.length, said.join('\n'))
    })
  }
  assert.deepEqual(await audit(given.input), [], 'all was put back')
}

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
