// The server role's side of a pipeline under test, in the same process.
import { createTokens } from '../../server/auth/tokens.ts'
import { createBuildStore } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { noSecrets, type SecretProvider } from '../../server/secrets/provider.ts'
import { createDesk } from '../../server/workers/desk.ts'
import type { GiveGrant } from '../../server/workers/link.ts'
import { createLocalGrant } from '../../server/workers/local-grant.ts'

export function grantsOf(db: Db, secrets: SecretProvider = noSecrets): GiveGrant {
  const tokens = createTokens({ secret: 'x'.repeat(48) })
  const store = createBuildStore({ db })
  return createLocalGrant(createDesk({ store, tokens, secrets, buildTimeoutSeconds: 60 }))
}
