// The rules around an app's secrets: whose they are, how many; values go in sealed and are never shown.
import type { Apps } from '../apps/service.ts'
import type { Principal } from '../auth/principal.ts'
import { SecretId } from '../builds/request-schema.ts'
import { lockApp } from '../db/lock-order.ts'
import type { Db } from '../db/pool.ts'
import { AppError, invalidRequest, notFound } from '../errors.ts'
import { APP_SECRETS_MAX } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { SecretCipher } from './cipher.ts'
import type { StoredSecret } from './schema.ts'
import { createSecretStore } from './store.ts'

export interface SecretsOptions {
  db: Db
  apps: Pick<Apps, 'get'>
  cipher: SecretCipher
  log: Log
}

/** The app is named as everywhere: by name, and by tenant for admins. */
export interface SecretsOf {
  app: string
  tenant?: string | undefined
}

export type Secrets = ReturnType<typeof createSecrets>

export function createSecrets({ db, apps, cipher, log }: SecretsOptions) {
  const store = createSecretStore({ db })

  return {
    /** Sets or replaces; builds that are claimed from now on get it. */
    async put(principal: Principal, of: SecretsOf, id: string, value: Buffer) {
      const parsed = SecretId.safeParse(id)
      if (!parsed.success) {
        const [issue] = parsed.error.issues
        throw invalidRequest(`secret id ${JSON.stringify(id)} ${issue?.message}`)
      }
      const app = await apps.get(principal, of.app, of.tenant)
      const sealed = cipher.seal({ appId: app.id, id }, value)
      const done = await db.transaction(async (trx) => {
        // Counting and inserting are one thing.
        if (!(await lockApp(trx, app.id))) throw notFound('app')
        if ((await store.countOthers(trx, app.id, id)) >= APP_SECRETS_MAX) {
          throw new AppError(
            'conflict',
            `app ${app.name} has ${APP_SECRETS_MAX} secrets already; delete one first`,
          )
        }
        return store.put(trx, app.id, id, sealed)
      })
      log.info(
        { app: app.name, tenant: app.tenant, secret: id, user: principal.user },
        'secret set',
      )
      return done
    },

    async list(principal: Principal, of: SecretsOf): Promise<StoredSecret[]> {
      const app = await apps.get(principal, of.app, of.tenant)
      return store.list(app.id)
    },

    async remove(principal: Principal, of: SecretsOf, id: string): Promise<void> {
      const app = await apps.get(principal, of.app, of.tenant)
      if (!(await store.remove(app.id, id))) throw notFound('secret')
      log.info(
        { app: app.name, tenant: app.tenant, secret: id, user: principal.user },
        'secret gone',
      )
    },
  }
}
