// One claimed build's life on the worker: pod → conversation → digest verified → recorded under the lease.
// The pod is gone before the build's next status is written, so a status never lies about a VM; only a guest
// that puts its builder's disk in order outlives its result.
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { EGRESS_PORT, REGISTRY_PORT, SECRETS_PORT } from '../../agent/protocol.ts'
import type { BuilderDisks } from '../builders/disks.ts'
import { BuildRequest } from '../builds/request-schema.ts'
import { shownConfig } from '../builds/shown-config.ts'
import { cachePlan } from '../cache/plan.ts'
import { untilDatabase } from '../db/gone.ts'
import type { Listener } from '../db/listen.ts'
import type { Db } from '../db/pool.ts'
import type { OpenEgress } from '../egress/builds.ts'
import { asError } from '../errors.ts'
import { BUILD_DISK_GB_DEFAULT } from '../limits.ts'
import type { ObjectFile, Objects } from '../objects/objects.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import { createLease } from '../queue/lease.ts'
import { type Pod, podNoun, type Runner } from '../runners/runner.ts'
import { createRedactor } from '../secrets/redact.ts'
import type { Log } from '../telemetry/log.ts'
import { NotGranted, type ServerLink } from '../workers/link.ts'
import { type BuildSecrets, buildSecrets, secretsService } from './build-secrets.ts'
import { beginSaving, cacheDiskOf, saveBuilder, takeDisk } from './builder-disk.ts'
import { cacheLine, createCacheReport } from './cache-report.ts'
import { conclude } from './conclude.ts'
import { BuildFailure } from './failure.ts'
import { createFetched } from './fetched.ts'
import { createLogWriter } from './log-writer.ts'
import { openNetwork } from './network.ts'
import { type Outcome, redactOutcome, toFailure } from './outcome.ts'
import { persist as persistWrite } from './persist.ts'
import { podConfig, resourcesOf } from './pod-config.ts'
import { redactedWriter } from './redacted.ts'
import { cacheOf, type Run, type RunsOn } from './run.ts'
import { talk } from './talk.ts'
import { verifyImage } from './verify-image.ts'
import { startWatchdog } from './watchdog.ts'

/** What only the server role can give. */
type Linked = Pick<
  ServerLink,
  'grant' | 'findImage' | 'registryService' | 'registryName' | 'buildTimeoutSeconds'
>

export interface PipelineOptions extends Linked {
  db: Db
  listener: Listener
  log: Log
  runner: Runner
  builderDisks: Pick<BuilderDisks, 'take'>
  fetchSource: Objects['fetch']
  /** Opens the way out of a build whose policy allows one. */
  openEgress: OpenEgress
  /** Undefined: no registry is read through ours. */
  mirrors?: ServerLink['mirrors']
  /** Address of the repository a build's commit is from. */
  sourceUrl?(build: ClaimedBuild): string | undefined
  /** PEM; what builds trust beside the certificates of their system. */
  caCertificates?: string | undefined
  /** Of each build's own disk. */
  diskBytes?: number
  /** Told how long a guest took from its start to its agent's first word. */
  onBoot?: (runner: string, ms: number) => void
}

/** What an attempt was granted. */
interface Given {
  registryToken: string
  secrets: BuildSecrets
}

export function createPipeline(options: PipelineOptions) {
  const { db, listener, log, openEgress, onBoot } = options
  const on: RunsOn = { runner: options.runner, noun: podNoun(options.runner.boundary), log }

  /** Runs one build to its end; the signal means: stop and hand it back. `freed`: what is left is no build any more. */
  async function run(
    build: ClaimedBuild,
    drain: AbortSignal,
    freed: () => void = () => {},
  ): Promise<void> {
    const lease = createLease({ db, buildId: build.id, token: build.leaseToken })
    const unreadable = BuildRequest.safeParse(build.request).error
    if (unreadable) {
      const error = `the stored request of this build can't be understood: ${z.prettifyError(unreadable)}`
      await lease.fail({ failureClass: 'infra', error })
      return
    }
    const resources = resourcesOf(build, options.buildTimeoutSeconds)
    const timeoutMs = resources.timeoutSeconds * 1000
    const watchdog = startWatchdog({ lease, listener, log, timeoutMs, drain })
    const redactor = createRedactor()
    const writer = redactedWriter(createLogWriter({ append: lease.append }), redactor)
    const channelKey = randomBytes(32).toString('base64url')
    const network = openNetwork({ build, resources, openEgress, lease, writer, redactor })
    const cache = cachePlan(build.tenant, build.request)
    const given = { build, lease, resources, channelKey }
    const fetched = createFetched(build, {
      recordSource: (source) => untilDatabase(() => lease.recordSource(source), watchdog.signal),
    })
    const cacheReport = createCacheReport(cache)
    const facts = { network, cache, fetched, cacheReport }
    const current: Run = { ...given, writer, redactor, watchdog, ...facts }
    const unfollow = options.mirrors?.follow(build.id, (line) => {
      void writer.write({ type: 'log', line })
    })
    try {
      const ended = await attempt(current)
      unfollow?.()
      const outcome = redactOutcome(await recordNetwork(current, ended), redactor)
      await persist(current, () => writer.close())
      await persist(current, () => conclude(current, outcome, on))
      freed()
      if (current.isRecorded) await saveBuilder(current.saving, { log, signal: drain })
    } finally {
      unfollow?.()
      watchdog.close()
      await current.saving?.pod.stop()
      await current.disk?.release()
    }
  }

  async function attempt(current: Run): Promise<Outcome> {
    const { build, writer, fetched } = current
    const say = (line: string) => writer.write({ type: 'log', line })
    let pod: Pod | undefined
    let source: ObjectFile | undefined
    try {
      const signal = current.watchdog.signal
      current.disk = await untilDatabase(() => takeDisk(build, { ...options, say }), signal)
      const given = await takeGrant(current, signal)
      source = await options.fetchSource(build.sourceKey, signal)
      pod = await startPod(current, { ...given, sourceFile: source.path }, signal)
      const result = await talk(current, pod, { ...on, onBoot, signal })
      if (!result.success) {
        const trouble = fetched.isFetching ? current.network.trouble() : undefined
        return { kind: 'failure', failure: toFailure(result, trouble) }
      }
      fetched.require()
      const image = await verifyImage(build, result, (repository, digest) =>
        options.findImage(repository, digest, { registryToken: given.registryToken, signal }),
      )
      const cached = cacheLine(cacheOf(current, result), build.request)
      if (cached !== undefined) await say(cached)
      current.saving = await beginSaving(current.disk, pod, { result, say })
      return { kind: 'result', result, image }
    } catch (error) {
      const reason = current.watchdog.reason
      if (reason !== undefined) return { kind: 'stopped', reason }
      if (error instanceof BuildFailure) return { kind: 'failure', failure: error }
      if (error instanceof NotGranted) {
        log.warn({ buildId: build.id, err: error.message }, 'the server gave nothing to a build')
        return { kind: 'stopped', reason: error.reason }
      }
      log.error({ err: asError(error), buildId: build.id }, 'build broke on the host')
      const message = `the build could not be run: ${asError(error).message}`
      const failure = new BuildFailure('infra', message, { cause: error })
      return { kind: 'failure', failure: Object.assign(failure, { mayRetry: true }) }
    } finally {
      if (!current.saving) await pod?.stop()
      await source?.release()
      current.network.close()
    }
  }

  /** A build of which it is not known what it reached is none. */
  async function recordNetwork(current: Run, outcome: Outcome): Promise<Outcome> {
    const { network, writer } = current
    let failure: BuildFailure | undefined
    const named = outcome.kind === 'result' ? outcome.result.network_connections : undefined
    await persist(current, async () => {
      failure = await network.store(named)
    })
    for (const line of network.lines()) await writer.write({ type: 'log', line })
    return failure && outcome.kind === 'result' ? { kind: 'failure', failure } : outcome
  }

  /** From here on nothing that is kept of this build holds one of their values. */
  async function takeGrant({ build, redactor, writer }: Run, signal: AbortSignal): Promise<Given> {
    const grant = await untilDatabase(() => options.grant(build, signal), signal)
    const secrets = buildSecrets(build, grant)
    redactor.learn(secrets.values.values())
    if (secrets.line !== undefined) await writer.write({ type: 'log', line: secrets.line })
    return { registryToken: grant.registryToken, secrets }
  }

  async function startPod(
    current: Run,
    { registryToken: token, secrets, sourceFile }: Given & { sourceFile: string },
    signal: AbortSignal,
  ): Promise<Pod> {
    const { build, resources, channelKey, network, cache } = current
    const services = new Map([[REGISTRY_PORT, options.registryService]])
    if (network.service) services.set(EGRESS_PORT, network.service)
    const secretsOnce = secretsService(secrets, { buildId: build.id, log })
    if (secretsOnce) services.set(SECRETS_PORT, secretsOnce)
    const publicName = options.registryName()
    const { disk } = current
    const sourceUrl = build.request.repo_url ?? options.sourceUrl?.(build)
    const { caCertificates } = options
    const mirrors = options.mirrors?.hosts ?? []
    const given = { token, publicName, channelKey, cache, sourceUrl, mirrors, caCertificates }
    const config = { ...podConfig(build, resources, given, secrets), ...cacheDiskOf(disk) }
    await persist(current, () => current.lease.recordConfig(shownConfig(config)))
    return options.runner.start(
      {
        id: `${build.id}-${build.attempt}`,
        memoryMb: resources.memoryMb,
        cpus: resources.cpus,
        diskBytes: options.diskBytes ?? BUILD_DISK_GB_DEFAULT * 1024 ** 3,
        networkMode: resources.networkMode,
        sourceFile,
        cacheFile: disk?.file,
        config,
        services,
      },
      signal,
    )
  }

  const persist = ({ build, watchdog }: Run, write: () => Promise<void>) =>
    persistWrite({ buildId: build.id, watchdog, log }, write)

  return { run }
}
