// The worker role: claims builds and runs them. It meets the server role only in Postgres and the objects.
import { createServer } from 'node:http'
import { createBuilderDisks } from '../builders/disks.ts'
import { createBuilderTidy } from '../builders/tidy.ts'
import { createClaimGuard } from '../disk-guard/claims.ts'
import { createDiskGuard } from '../disk-guard/guard.ts'
import { createBuildEgress } from '../egress/builds.ts'
import { readCertificates } from '../egress/certificates.ts'
import { createPipeline } from '../pipeline/pipeline.ts'
import { createWorker } from '../queue/worker.ts'
import { createGrants } from '../registry/grants.ts'
import { createRegistryProxy } from '../registry/proxy.ts'
import { createReferrerStore } from '../registry/referrer-store.ts'
import { createAppSecrets } from '../secrets/app-secrets.ts'
import { createFileSecrets } from '../secrets/file-secrets.ts'
import { firstOf, noSecrets, type SecretProvider } from '../secrets/provider.ts'
import { createSecretStore } from '../secrets/store.ts'
import type { Core } from './core.ts'
import { startRunner } from './runner.ts'

export async function startWorkerRole(core: Core, { workerName }: { workerName: string }) {
  const { config, db, listener, log, objects } = core
  const { runner, builderDigest } = await startRunner(core)
  const builderDisks = createBuilderDisks({
    db,
    log: log.child({ mod: 'builders' }),
    root: core.paths.builders,
    worker: workerName,
    stamp: builderDigest,
    mkfsExt4: core.parts.mkfsExt4,
    maxBytes: config.builderDisksMaxGb * 1024 ** 3,
  })

  const { egressCaFile: caFile } = config
  const caCertificates = caFile === undefined ? undefined : await readCertificates(caFile)
  const openEgress = createBuildEgress({
    allowAddresses: config.egressAllowAddresses,
    ports: config.egressPorts,
    outboundUrl: config.egressProxyUrl,
    log: log.child({ mod: 'egress' }),
    onEvent: core.metrics.build.egress,
  })
  const guestRegistry = createServer({ requestTimeout: 0 })
  const proxy = createRegistryProxy({
    upstream: core.upstream,
    tokens: core.tokens,
    grants: createGrants({ tenantOfBuild: core.store.tenantOf, runsUnder: core.store.runsUnder }),
    referrers: createReferrerStore({ db }),
    mirror: core.mirror,
    use: core.repositoryUse,
    // Inside a guest the registry is called what its tunnel is called there.
    baseUrl: () => 'http://localhost:5000',
    log: log.child({ mod: 'registry' }),
  })
  guestRegistry.on('request', (req, res) => void proxy(req, res))

  const pipeline = createPipeline({
    db,
    listener,
    log: log.child({ mod: 'pipeline' }),
    runner,
    tokens: core.tokens,
    secrets: secretsOf(core),
    builderDisks,
    sourceFile: objects.path,
    findImage: core.registryClient.findImage,
    registryService: (socket) => guestRegistry.emit('connection', socket),
    openEgress,
    caCertificates,
    mirrors: { hosts: core.mirror?.hosts ?? [], follow: core.notes.follow },
    registryName: core.registryName,
    sourceUrl: ({ tenant, app }) =>
      app === undefined ? undefined : `${core.publicUrl()}/${tenant}/${app}.git`,
    buildTimeoutSeconds: config.buildTimeoutSeconds,
    onBoot: core.metrics.build.booted,
  })
  const worker = createWorker({
    db,
    listener,
    log: log.child({ mod: 'worker' }),
    name: workerName,
    run: pipeline.run,
    onClaim: core.metrics.build.claimed,
    mayClaim: createClaimGuard({
      db,
      log: log.child({ mod: 'disk' }),
      worker: workerName,
      guard: createDiskGuard({ path: core.paths.dataDir, floorBytes: config.diskFloorBytes }),
    }).mayClaim,
  })
  await worker.start()
  core.releasers.add('worker', () => worker.stop())
  const tidy = createBuilderTidy({
    db,
    listener,
    log: log.child({ mod: 'builders' }),
    disks: builderDisks,
  })
  tidy.start()
  core.releasers.add('builders', () => tidy.stop())
}

/** What an app has been given itself comes before the operator's files. */
function secretsOf({ config, db, secretCipher: cipher }: Core): SecretProvider {
  const folder = config.buildSecretsDir
  const files = folder === undefined ? noSecrets : createFileSecrets({ folder })
  return firstOf([createAppSecrets({ store: createSecretStore({ db }), cipher }), files])
}
