// What both roles need: database, tokens, stores, the registry behind its proxy.

import { createRevocation } from '../auth/revocation.ts'
import { readSecret } from '../auth/secret.ts'
import { createTokens, type Tokens } from '../auth/tokens.ts'
import { type BuildLog, createBuildLog } from '../builds/log.ts'
import { type BuildStore, createBuildStore } from '../builds/store.ts'
import { watchTransitions } from '../builds/transitions.ts'
import type { Config } from '../config.ts'
import { startEmbedded } from '../db/embedded.ts'
import { createListener, type Listener } from '../db/listen.ts'
import { migrate } from '../db/migrate.ts'
import { createDb, type Db } from '../db/pool.ts'
import { freeBytesMinOf, requireDiskRoom } from '../objects/disk-room.ts'
import { createLocalObjects, type Objects } from '../objects/objects.ts'
import type { Paths } from '../paths.ts'
import { createQueue, type Queue } from '../queue/queue.ts'
import { setQueueLimits, setSlots } from '../queue/slots.ts'
import { startRegistry } from '../registry/child.ts'
import { createRegistryClient, type RegistryClient } from '../registry/client.ts'
import { createRepositoryUse, type RepositoryUse } from '../registry/repository-use.ts'
import type { RegistryUpstream } from '../registry/upstream.ts'
import type { Releasers } from '../releasers.ts'
import { createSecretCipher, type SecretCipher } from '../secrets/cipher.ts'
import { readSecretsKey } from '../secrets/key.ts'
import type { Parts } from '../setup/parts-types.ts'
import type { Users } from '../setup/users.ts'
import type { Log } from '../telemetry/log.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'
import { type StartedMirror, startMirror } from './mirror.ts'

export interface Boot {
  config: Config
  parts: Parts
  users: Users
  paths: Paths
  log: Log
  releasers: Releasers
}

export interface Core extends Boot, StartedMirror {
  db: Db
  listener: Listener
  store: BuildStore
  buildLog: BuildLog
  queue: Queue
  objects: Objects
  tokens: Tokens
  secretCipher: SecretCipher
  upstream: RegistryUpstream
  registryClient: RegistryClient
  repositoryUse: RepositoryUse
  metrics: Metrics
  /** Known once the server listens (PORT may be 0). */
  publicUrl(): string
  setPublicUrl(url: string): void
  /** `host:port` under which people pull. */
  registryName(): string
}

export async function startCore(boot: Boot): Promise<Core> {
  const { config, paths, log, releasers } = boot
  const metrics = createMetrics({ log: log.child({ mod: 'metrics' }), otlp: config.otlp })
  const url = await databaseUrl(boot)
  const db = watchTransitions(createDb(url), metrics.build.moved)
  releasers.add('database pool', () => db.destroy())
  metrics.watchQueue(db)
  releasers.add('metrics', () => metrics.stop())
  const applied = await migrate(db, url)
  if (applied.length > 0) log.info({ applied }, 'database migrated')
  await setSlots(db, config.maxConcurrentBuilds)
  await setQueueLimits(db, {
    runningPerTenant: config.maxConcurrentBuildsPerTenant,
    ttlHours: config.queueTtlHours,
  })
  const listener = createListener({ url, log: log.child({ mod: 'listen' }) })
  await listener.start()
  releasers.add('listener', () => listener.stop())

  const secret = await readSecret({ configured: config.jwtSecret, file: paths.jwtSecret })
  const revocation = createRevocation({ db })
  const tokens = createTokens({ secret, isRevoked: revocation.isRevoked })
  const key = await readSecretsKey({ configured: config.secretsKey, file: paths.secretsKey })
  const upstream = await registryUpstream(boot)
  const { mirror, notes } = await startMirror(boot, { upstream, metrics })
  const repositoryUse = createRepositoryUse({ db, log: log.child({ mod: 'registry' }) })
  releasers.add('use of repositories', () => repositoryUse.settled())
  const store = createBuildStore({ db })
  const buildLog = createBuildLog({ db, listener, watch: metrics.build.follow })
  let known = config.publicUrl
  const publicUrl = () => {
    if (known === undefined) throw new Error('the server does not listen yet')
    return known
  }
  return {
    ...boot,
    db,
    listener,
    store,
    buildLog,
    queue: createQueue({ db, store, buildLog }),
    objects: createLocalObjects({
      root: paths.objects,
      requireRoom: () => requireDiskRoom(paths.dataDir, freeBytesMinOf(config.diskFloorBytes)),
    }),
    tokens,
    secretCipher: createSecretCipher(key),
    upstream,
    mirror,
    notes,
    registryClient: createRegistryClient({ upstream }),
    repositoryUse,
    metrics,
    publicUrl,
    setPublicUrl(url) {
      known ??= url
    },
    registryName: () => new URL(publicUrl()).host,
  }
}

async function databaseUrl({ config, parts, users, paths, log, releasers }: Boot): Promise<string> {
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
