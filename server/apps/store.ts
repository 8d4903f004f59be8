// SQL over `apps`. Settings are one jsonb column, changed in one statement so that no update is lost.
import type { Db, Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { DATABASE_ANSWER_DEADLINE_MS } from '../limits.ts'
import { type App, fromWire, type UpdateApp, type WireSettings } from './schema.ts'

export interface NewApp {
  id: string
  tenant: string
  name: string
  settings: WireSettings
}

export type AppStore = ReturnType<typeof createAppStore>

export function createAppStore({ db }: { db: Db }) {
  return {
    /** undefined when the tenant has an app of this name already. */
    async insert(trx: Queryable, app: NewApp): Promise<App | undefined> {
      const [row] = await trx('apps')
        .insert({ ...app, settings: JSON.stringify(app.settings) })
        .onConflict(['tenant', 'name'])
        .ignore()
        .returning('*')
      return row && toApp(row)
    },

    async find(tenant: string, name: string): Promise<App | undefined> {
      const row = await db('apps')
        .where({ tenant, name })
        .first()
        .timeout(DATABASE_ANSWER_DEADLINE_MS)
      return row && toApp(row)
    },

    async byId(id: string): Promise<App | undefined> {
      const row = await db('apps').where({ id }).first()
      return row && toApp(row)
    },

    async list(tenant?: string): Promise<App[]> {
      const select = db('apps').orderBy(['tenant', 'name'])
      if (tenant !== undefined) select.where({ tenant })
      return (await select).map(toApp)
    },

    /** A setting given replaces the old one; null removes it. */
    async update(id: string, change: UpdateApp): Promise<App | undefined> {
      const entries = Object.entries(change).filter(([, value]) => value !== undefined)
      const set = Object.fromEntries(entries.filter(([, value]) => value !== null))
      const [row] = await rows(
        db,
        `update apps
         set settings = (settings || cast(:set as jsonb)) - cast(:drop as text[]),
           updated_at = clock_timestamp()
         where id = :id
         returning *`,
        {
          id,
          set: JSON.stringify(set),
          drop: entries.flatMap(([name, value]) => (value === null ? [name] : [])),
        },
      )
      return row === undefined ? undefined : toApp(row)
    },

    /** Locks the row, so that no build of the app can be queued before the transaction ends. */
    async lock(trx: Queryable, id: string): Promise<boolean> {
      const found = await trx('apps').where({ id }).forUpdate().first('id')
      return found !== undefined
    },

    async hasLiveBuild(trx: Queryable, id: string): Promise<string | undefined> {
      const found = await trx('builds')
        .where({ app_id: id })
        .whereIn('status', ['queued', 'building', 'pushing'])
        .first('id')
      return found?.id
    },

    async remove(trx: Queryable, id: string): Promise<void> {
      await trx('apps').where({ id }).delete()
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a row as the driver gives it; this is where it gets its type
function toApp(row: any): App {
  return {
    id: row.id,
    tenant: row.tenant,
    name: row.name,
    settings: fromWire(row.settings),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
