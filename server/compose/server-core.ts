// What the server role has beyond that: the database's schema, the keys, the registry. A worker on another machine
// has none of it.
import { createRevocation } from '../auth/revocation.ts'
import { readSecret } from '../auth/secret.ts'
import { createTokens, type Tokens } from '../auth/tokens.ts'
import { startEmbedded } from '../db/embedded.ts'
import { installationId } from '../db/installation.ts'
import { migrate } from '../db/migrate.ts'
import type { LfsStore } from '../lfs/store.ts'
import { claimObjects } from '../objects/owner.ts'
import { createQueue, type Queue } from '../queue/queue.ts'
import { setQueueLimits, setSlots } from '../queue/slots.ts'
import { startRegistry } from '../registry/child.ts'
import { createRegistryClient, type RegistryClient } from '../registry/client.ts'
import { createRepositoryUse, type RepositoryUse } from '../registry/repository-use.ts'
import type { RequireRoom } from '../registry/room.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'
import { createAppSecrets } from '../secrets/app-secrets.ts'
import { createSecretCipher, type SecretCipher } from '../secrets/cipher.ts'
import { createFileSecrets } from '../secrets/file-secrets.ts'
import { readSecretsKey } from '../secrets/key.ts'
import { firstOf, noSecrets } from '../secrets/provider.ts'
import { createSecretStore } from '../secrets/store.ts'
import { createDesk, type Desk } from '../workers/desk.ts'
import { type Boot, type Core, startCore } from './core.ts'
import { openLfs } from './lfs.ts'
import { type StartedMirror, startMirror } from './mirror.ts'

export interface ServerCore extends Core, StartedMirror {
  queue: Queue
  lfs: LfsStore
  tokens: Tokens
  secretCipher: SecretCipher
  upstream: RegistryUpstream
  registryClient: RegistryClient
  repositoryUse: RepositoryUse
  /** Throws AppError `disk_full` where it writes to the server's disk. */
  requireRegistryRoom: RequireRoom | undefined
  desk: Desk
  /** Known once the server listens (PORT may be 0). */
  publicUrl(): string
  setPublicUrl(url: string): void
  /** `host:port` under which people pull. */
  registryName(): string
}

export async function startServerCore(boot: Boot): Promise<ServerCore> {
  const { config, paths, log } = boot
  const databaseUrl = await databaseUrlOf(boot)
  const core = await startCore(boot, {
    databaseUrl,
    async prepare(db, signal) {
      const applied = await migrate(db, {
        signal,
        onWait: () => log.warn('another server brings the database up to date; waiting for it'),
      })
      if (applied.length > 0) log.info({ applied }, 'database migrated')
      await setSlots(db, config.maxConcurrentBuilds)
      await setQueueLimits(db, {
        runningPerTenant: config.maxConcurrentBuildsPerTenant,
        ttlHours: config.queueTtlHours,
      })
    },
  })
  const { db, store, buildLog, objects, objectsLocation: location } = core
  const installation = await installationId(db)
  await claimObjects({ objects, location, installation })
  core.metrics.watchQueue(db)
  const secret = await readSecret({ configured: config.jwtSecret, file: paths.jwtSecret })
  const revocation = createRevocation({ db })
  const tokens = createTokens({ secret, isRevoked: revocation.isRevoked })
  const key = await readSecretsKey({ configured: config.secretsKey, file: paths.secretsKey })
  const secretCipher = createSecretCipher(key)
  const upstream = await registryUpstream(boot)
  const { mirror, notes } = await startMirror(boot, { upstream, metrics: core.metrics })
  const repositoryUse = createRepositoryUse({ db, log: log.child({ mod: 'registry' }) })
  boot.releasers.add('use of repositories', () => repositoryUse.settled())
  let known = config.publicUrl
  const publicUrl = () => {
    if (known === undefined) throw new Error('the server does not listen yet')
    return known
  }
  return {
    ...core,
    queue: createQueue({ db, store, buildLog }),
    lfs: await openLfs(core, installation),
    tokens,
    secretCipher,
    upstream,
    mirror,
    notes,
    registryClient: createRegistryClient({ upstream }),
    repositoryUse,
    requireRegistryRoom: upstream.kind === 'socket' ? core.requireRoom : undefined,
    desk: createDesk({
      store,
      tokens,
      secrets: secretsOf(core, secretCipher),
      buildTimeoutSeconds: config.buildTimeoutSeconds,
    }),
    publicUrl,
    setPublicUrl(url) {
      known ??= url
    },
    registryName: () => new URL(publicUrl()).host,
  }
}

/** What an app has been given itself comes before the operator's files. */
function secretsOf({ config, db }: Core, cipher: SecretCipher) {
  const folder = config.buildSecretsDir
  const files = folder === undefined ? noSecrets : createFileSecrets({ folder })
  return firstOf([createAppSecrets({ store: createSecretStore({ db }), cipher }), files])
}

async function databaseUrlOf({
  config,
  parts,
  users,
  paths,
  log,
  releasers,
}: Boot): Promise<string> {
  if (config.databaseUrl !== undefined) return config.databaseUrl
  const embedded = await startEmbedded({
    binDir: parts.postgresBin,
    setpriv: parts.setpriv,
    dataDir: paths.database,
    socketDir: paths.databaseSocket,
    user: users.db,
    log: log.child({ mod: 'postgres' }),
  })
  releasers.add('PostgreSQL', () => embedded.stop())
  return embedded.url
}

async function registryUpstream(boot: Boot): Promise<RegistryUpstream> {
  const { config, parts, paths, log, releasers } = boot
  if (config.registryUrl !== undefined) {
    return {
      kind: 'url',
      url: config.registryUrl,
      username: config.registryUsername,
      password: config.registryPassword,
    }
  }
  const child = await startRegistry({
    binary: parts.registry,
    setpriv: parts.setpriv,
    dataDir: paths.registry,
    runDir: paths.registryRun,
    log: log.child({ mod: 'registry' }),
  })
  releasers.add('registry', () => child.stop())
  return child.upstream
}
