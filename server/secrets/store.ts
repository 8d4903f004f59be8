// SQL over `app_secrets`: sealed values go in; they are read for builds alone.
import type { Db, Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import type { SealedSecret } from './cipher.ts'
import type { StoredSecret } from './schema.ts'

const SHOWN = ['id', 'created_at', 'updated_at']

export type SecretStore = ReturnType<typeof createSecretStore>

export function createSecretStore({ db }: { db: Db }) {
  return {
    async countOthers(trx: Queryable, appId: string, id: string): Promise<number> {
      const query = trx('app_secrets').where({ app_id: appId }).whereNot({ id })
      const [row] = await query.count({ count: '*' })
      return Number(row?.count)
    },

    async put(
      trx: Queryable,
      appId: string,
      id: string,
      { keyId, nonce, sealed }: SealedSecret,
    ): Promise<{ secret: StoredSecret; isNew: boolean }> {
      const [row] = await rows<SecretRow & { is_new: boolean }>(
        trx,
        `insert into app_secrets (app_id, id, key_id, nonce, sealed)
         values (:appId, :id, :keyId, :nonce, :sealed)
         on conflict (app_id, id) do update
         set key_id = :keyId, nonce = :nonce, sealed = :sealed, updated_at = clock_timestamp()
         returning id, created_at, updated_at, xmax = 0 as is_new`,
        { appId, id, keyId, nonce, sealed },
      )
      return { secret: toSecret(row!), isNew: row!.is_new }
    },

    async list(appId: string): Promise<StoredSecret[]> {
      const found = await db('app_secrets').where({ app_id: appId }).orderBy('id').select(SHOWN)
      return found.map(toSecret)
    },

    async remove(appId: string, id: string): Promise<boolean> {
      return (await db('app_secrets').where({ app_id: appId, id }).delete()) > 0
    },

    async sealed(appId: string, ids: readonly string[]): Promise<Map<string, SealedSecret>> {
      const found = await db('app_secrets')
        .where({ app_id: appId })
        .whereIn('id', [...ids])
        .select('id', 'key_id', 'nonce', 'sealed')
      return new Map(
        found.map(({ id, key_id: keyId, nonce, sealed }) => [id, { keyId, nonce, sealed }]),
      )
    },
  }
}

interface SecretRow {
  id: string
  created_at: Date
  updated_at: Date
}

function toSecret(row: SecretRow): StoredSecret {
  return { id: row.id, createdAt: row.created_at, updatedAt: row.updated_at }
}
