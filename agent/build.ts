// One build inside the guest: source and daemon prepared at the same time, buildctl run, its outcome told.
// It never throws for a failed build: whatever goes wrong becomes a result with a class and a sentence.
import { lstatSync, mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { posix } from 'node:path'
import { pinBase, wrongBase } from './base-pin.ts'
import {
  type BuildctlPaths,
  buildctlArgs,
  readImageDigest,
  startBuildctl,
  writeCredentials,
} from './buildctl.ts'
import { type Buildkitd, buildkitVersion } from './buildkitd.ts'
import { openCacheDisk, startBuildkitdOn } from './cache-disk.ts'
import { exportCache } from './cache-export.ts'
import type { Channel } from './channel.ts'
import { note } from './clock.ts'
import { explainFailure, type Failure } from './failure.ts'
import { FetchFailure } from './fetch-failure.ts'
import { fullSourceDisk } from './full-disk.ts'
import type { StepsMemory } from './memory.ts'
import { createProgress, type Progress } from './progress.ts'
import type { BuildConfig, BuildResult, EventMessage } from './protocol.ts'
import { finalBaseDigest, provenanceOf } from './provenance.ts'
import { removeSecrets, takeSecrets } from './secrets.ts'
import type { SourceInput } from './source.ts'
import { takeSource } from './take-source.ts'
import { trustFile } from './trust.ts'

/** The sentence of seed 000 (ErrDockerfileRequired), as the server says it too. */
const DOCKERFILE_REQUIRED =
  'dockerfile required: provide dockerfile parameter or include Dockerfile in source tarball'

export interface BuildOptions {
  config: BuildConfig
  source: SourceInput
  /** Private folder on tmpfs. */
  runFolder: string
  memory: StepsMemory
  channel: Pick<Channel, 'send' | 'connected'>
  signal: AbortSignal
}

type PreparedPaths = Omit<BuildctlPaths, 'secretsFolder'>

export interface BuildRun {
  result: BuildResult
  /** Only of a build that succeeded and has a cache to export; whether it was. */
  exportCache?: () => Promise<boolean>
  /** Ends the daemon, and saves the builder's disk. After the result, because nobody needs to wait for it. */
  stop(): Promise<unknown>
}

export async function runBuild(options: BuildOptions): Promise<BuildRun> {
  let { config } = options
  const { runFolder, signal } = options
  const started = performance.now()
  let last: Promise<void> = Promise.resolve()
  let version: Promise<string> | undefined
  const emit = (message: EventMessage) => {
    // Asked when nothing else needs the processor: it costs a start of the large program.
    if (isNearEnd(message)) version ??= buildkitVersion()
    last = options.channel.send(message).catch((error) => note(`message not sent: ${error}`))
  }
  emit({ type: 'status', status: 'preparing' })
  const secretsFolder = `${runFolder}/secrets`
  try {
    await takeSecrets(config, secretsFolder)
  } catch (error) {
    await last
    return withoutSecrets(config, error as Error)
  }
  const caFile = trustFile(config.ca_certificates, runFolder)
  const disk = config.cache_disk && openCacheDisk(config.cache_disk)
  const daemon = startBuildkitdOn(disk, {
    config,
    runFolder: `${runFolder}/buildkit`,
    cpus: availableParallelism(),
    caFile,
  })
  const progress = createProgress(emit)
  let outcome: Outcome
  let paths: PreparedPaths | undefined
  try {
    const prepared = await prepare(options, { daemon, emit, caFile, secretsFolder })
    config = prepared.config
    paths = prepared.paths
    emit({ type: 'status', status: 'building' })
    const args = buildctlArgs(config, { ...paths, secretsFolder })
    const buildctl = startBuildctl(args, `${runFolder}/docker`)
    const onAbort = () => void buildctl.stop()
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    for await (const line of buildctl.lines) {
      progress.feed(line)
      await last
    }
    progress.end()
    const exitCode = await buildctl.exitCode
    signal.removeEventListener('abort', onAbort)
    note(`buildctl ended with exit code ${exitCode}`)
    outcome = conclude({ exitCode, progress, daemon, options, paths })
  } catch (error) {
    outcome = { failure: toFailure(error, daemon) }
  }
  removeSecrets(secretsFolder)
  await last
  if (outcome.failure && disk?.isDamaged()) outcome = damaged(outcome.failure)
  const result = resultOf(outcome, {
    ...(disk?.trouble === undefined ? {} : { cache_trouble: disk.trouble }),
    provenance: provenanceOf({
      config,
      vertices: progress.facts.vertices,
      buildkitVersion: await (version ?? buildkitVersion()),
      completedAt: new Date(),
    }),
    duration_ms: Math.round(performance.now() - started),
    ...cacheUse(config, progress),
  })
  const saves = result.success && config.cache_disk?.save
  const run: BuildRun = {
    result,
    stop: () => (saves && disk ? disk.save(daemon) : daemon.stop()),
  }
  if (result.success && config.cache_export !== undefined && paths) {
    const dockerConfig = `${runFolder}/docker`
    const log = (line: string) => emit({ type: 'log', log: line })
    const given = { config, paths, dockerConfig, log, signal }
    run.exportCache = () => exportCache(given)
  }
  return run
}

function cacheUse(config: BuildConfig, { cacheImports }: Progress): Pick<BuildResult, 'cache'> {
  if (config.cache_imports === undefined && config.cache_export === undefined) return {}
  const found = [...cacheImports.values()].filter((each) => each.found)
  return { cache: { imported: found.map(({ repository }) => repository) } }
}

/** Nothing was started yet. */
async function withoutSecrets(config: BuildConfig, error: Error): Promise<BuildRun> {
  const provenance = provenanceOf({
    config,
    vertices: new Map(),
    buildkitVersion: await buildkitVersion(),
    completedAt: new Date(),
  })
  const failure: Failure = {
    failure_class: 'infra',
    error: `the build's secrets did not arrive: ${error.message}`,
  }
  const result = resultOf({ failure }, { provenance, duration_ms: 0 })
  return { result, stop: async () => {} }
}

function isNearEnd(message: EventMessage): boolean {
  if (message.type === 'status') return message.status === 'pushing'
  return message.type === 'step' && message.step.state === 'failed'
}

class PrepareFailure extends Error {
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.error)
    this.failure = failure
  }
}

interface Preparing {
  daemon: Buildkitd
  emit(message: EventMessage): void
  caFile: string | undefined
  secretsFolder: string
}

async function prepare(
  options: BuildOptions,
  { daemon, emit, caFile, secretsFolder }: Preparing,
): Promise<{ config: BuildConfig; paths: PreparedPaths }> {
  const { channel, runFolder, signal } = options
  writeCredentials(options.config, `${runFolder}/docker`)
  const taken = takeSource({ ...options, emit, caFile, secretsFolder }).catch((error: Error) => {
    signal.throwIfAborted()
    throw sourceFailure(error)
  })
  // No step of a tenant may run while the agent still takes callers.
  const isReady = daemon.ready().then(() => note('buildkitd ready'))
  const [config] = await Promise.all([taken, isReady, channel.connected])
  signal.throwIfAborted()
  const dockerfile = chooseDockerfile(config, runFolder, emit)
  const pinned = pinBase(config, dockerfile, runFolder)
  if (!pinned.ok) throw new PrepareFailure({ failure_class: 'build', error: pinned.error })
  const paths = {
    socket: daemon.socket,
    metadataFile: `${runFolder}/metadata.json`,
    ...(config.dockerfile === undefined ? {} : { dockerfileFolder: posix.dirname(dockerfile) }),
    ...(pinned.policyFile ? { sourcePolicyFile: pinned.policyFile } : {}),
  }
  return { config, paths }
}

/** The path of the one to use. A Dockerfile of the request wins, and stays out of the user's source. */
function chooseDockerfile(
  config: BuildConfig,
  runFolder: string,
  emit: (message: EventMessage) => void,
): string {
  if (config.dockerfile !== undefined) {
    const folder = `${runFolder}/dockerfile`
    mkdirSync(folder, { recursive: true })
    writeFileSync(`${folder}/Dockerfile`, config.dockerfile)
    emit({ type: 'log', log: 'Using Dockerfile from the request' })
    return `${folder}/Dockerfile`
  }
  const path = config.dockerfile_path ?? 'Dockerfile'
  const dockerfile = posix.join(config.source_path, path)
  if (!exists(dockerfile)) {
    throw new PrepareFailure({ failure_class: 'source', error: DOCKERFILE_REQUIRED })
  }
  emit({ type: 'log', log: `Using Dockerfile from source (${path})` })
  return dockerfile
}

function sourceFailure(error: NodeJS.ErrnoException): PrepareFailure {
  if (error instanceof FetchFailure) {
    return new PrepareFailure({ failure_class: error.failureClass, error: error.message })
  }
  const isFull = error.code === 'ENOSPC'
  const why = isFull ? fullSourceDisk() : error.message
  return new PrepareFailure({
    failure_class: isFull ? 'disk' : 'source',
    error: `the source could not be unpacked: ${why}`,
  })
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

/** Whatever the failure says: it is not the build's. */
function damaged({ error }: Failure): Outcome {
  const what = `the file system of the builder's disk has errors: ${error}`
  return { failure: { failure_class: 'infra', error: what } }
}

interface Outcome {
  digest?: string
  failure?: Failure
}

interface Ended {
  exitCode: number | null
  progress: Progress
  daemon: Buildkitd
  options: BuildOptions
  paths: PreparedPaths
}

function conclude({ exitCode, progress, daemon, options, paths }: Ended): Outcome {
  const { config, memory, signal } = options
  if (signal.aborted) return { failure: cancelled(signal) }
  const digest = exitCode === 0 ? readImageDigest(paths.metadataFile) : undefined
  const { facts } = progress
  if (digest) {
    const error = wrongBase(config, finalBaseDigest(facts.vertices))
    return error ? { failure: { failure_class: 'build', error } } : { digest }
  }
  const error = facts.plainLines.findLast((line) => line.startsWith('error: ')) ?? ''
  if (!daemon.isAlive()) for (const line of daemon.tail().slice(-10)) note(`buildkitd: ${line}`)
  const failure = explainFailure({
    config,
    exitCode,
    error: exitCode === 0 ? 'error: buildctl reported no digest' : error,
    failed: facts.failed(),
    oomKills: memory.oomKills(),
    buildkitdAlive: daemon.isAlive(),
  })
  return { failure }
}

function toFailure(error: unknown, daemon: Buildkitd): Failure {
  if (error instanceof PrepareFailure) return error.failure
  for (const line of daemon.tail().slice(-10)) note(`buildkitd: ${line}`)
  const text = error instanceof Error ? error.message : String(error)
  return { failure_class: 'infra', error: `the build could not be started: ${text}` }
}

function cancelled(signal: AbortSignal): Failure {
  const reason = signal.reason instanceof Error ? signal.reason.message : String(signal.reason)
  return { failure_class: 'infra', error: `the build was stopped: ${reason}` }
}

function resultOf(
  { digest, failure }: Outcome,
  common: Pick<BuildResult, 'provenance' | 'duration_ms' | 'cache' | 'cache_trouble'>,
): BuildResult {
  if (failure) return { success: false, ...failure, ...common }
  return { success: true, ...(digest ? { image_digest: digest } : {}), ...common }
}
