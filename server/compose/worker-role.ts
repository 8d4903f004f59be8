// The worker role: claims builds and runs them. It meets the server role only in Postgres, the objects, and the
// link through which it is granted what only the server can make.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { createBuilderDisks } from '../builders/disks.ts'
import { createBuilderTidy } from '../builders/tidy.ts'
import { createClaimGuard } from '../disk-guard/claims.ts'
import { createDiskGuard } from '../disk-guard/guard.ts'
import { createBuildEgress } from '../egress/builds.ts'
import { readCertificates } from '../egress/certificates.ts'
import { createPipeline } from '../pipeline/pipeline.ts'
import { createWorker } from '../queue/worker.ts'
import { VERSION } from '../version.ts'
import type { ServerLink } from '../workers/link.ts'
import { createPresence } from '../workers/presence.ts'
import type { Core } from './core.ts'
import { startRunner } from './runner.ts'

export interface WorkerRoleOptions {
  workerName: string
  link: ServerLink
  /** How long running builds may go on when the process ends. */
  graceMs(): number
}

export async function startWorkerRole(core: Core, options: WorkerRoleOptions): Promise<void> {
  const { config, db, listener, log, onUnfit } = core
  const { workerName, link, graceMs } = options
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
  const pipeline = createPipeline({
    db,
    listener,
    log: log.child({ mod: 'pipeline' }),
    runner,
    ...link,
    builderDisks,
    fetchSource: core.objects.fetch,
    openEgress: openEgressOf(core),
    caCertificates,
    sourceUrl: ({ tenant, app }) =>
      app === undefined ? undefined : `${link.publicUrl()}/${tenant}/${app}.git`,
    diskBytes: config.buildDiskBytes,
    onBoot: core.metrics.build.booted,
  })
  const worker = createWorker({
    db,
    listener,
    log: log.child({ mod: 'worker' }),
    name: workerName,
    slots: config.workerSlots,
    run: pipeline.run,
    onClaim: core.metrics.build.claimed,
    mayClaim: createClaimGuard({
      db,
      log: log.child({ mod: 'disk' }),
      worker: workerName,
      guard: createDiskGuard({ path: core.paths.dataDir, floorBytes: config.diskFloorBytes }),
    }).mayClaim,
  })
  const presence = createPresence({
    db,
    listener,
    log: log.child({ mod: 'worker' }),
    worker: {
      id: workerName,
      host: hostname(),
      dataDir: core.paths.dataDir,
      version: VERSION,
      slots: config.workerSlots,
      session: randomUUID(),
    },
    onDrain: (handBackInMs) =>
      handBackInMs === undefined ? worker.resume() : worker.drain(handBackInMs),
    onUnfit,
  })
  // Before it takes back what it held: another process may have its name.
  await presence.start()
  core.releasers.add('worker entry', () => presence.stop())
  await worker.start()
  core.releasers.add('worker', () => worker.stop(graceMs()))
  const tidy = createBuilderTidy({
    db,
    listener,
    log: log.child({ mod: 'builders' }),
    disks: builderDisks,
  })
  tidy.start()
  core.releasers.add('builders', () => tidy.stop())
}

function openEgressOf({ config, log, metrics }: Core) {
  return createBuildEgress({
    allowAddresses: config.egressAllowAddresses,
    ports: config.egressPorts,
    outboundUrl: config.egressProxyUrl,
    log: log.child({ mod: 'egress' }),
    onEvent: metrics.build.egress,
  })
}
