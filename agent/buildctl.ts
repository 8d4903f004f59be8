// One `buildctl build`: its argument list, its credentials and its run. No value of a tenant may become an
// option of BuildKit: `--opt` takes each value whole, and what goes into CSV was checked by config.ts.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { posix } from 'node:path'
import { createInterface } from 'node:readline'
import { exportCacheArg, importCacheArgs } from './cache.ts'
import { BASE_ENV, exited, stopChild } from './children.ts'
import type { BuildConfig } from './protocol.ts'
import { proxyEnv } from './proxy.ts'

/** Of our own registry: builds without network can use it too, and nobody else decides what runs. */
const SBOM_GENERATOR = 'library/buildkit-syft-scanner:stable-1'

export interface BuildctlPaths {
  socket: string
  metadataFile: string
  /** Folder with the Dockerfile when its text came with the configuration. */
  dockerfileFolder?: string
  /** Folder with one file for each secret. */
  secretsFolder: string
  /** BuildKit's source policy, when the base image is pinned. */
  sourcePolicyFile?: string
}

/** Builds the image and pushes it. */
export function buildctlArgs(config: BuildConfig, paths: BuildctlPaths): string[] {
  return [
    ...solveArgs(config, paths),
    '--metadata-file',
    paths.metadataFile,
    '--output',
    outputOf(config),
    ...secretsOf(config, paths.secretsFolder).flatMap((secret) => ['--secret', secret]),
    ...(config.no_cache ? ['--no-cache'] : []),
    ...attestationsOf(config).flatMap(([name, value]) => ['--opt', `attest:${name}=${value}`]),
  ]
}

/** The same build once more, of which nothing is left to do but to export its cache. */
export function cacheExportArgs(
  config: BuildConfig,
  paths: Omit<BuildctlPaths, 'secretsFolder'>,
): string[] {
  const reference = `${config.registry_url}/${config.cache_export}`
  return [...solveArgs(config, paths), '--export-cache', exportCacheArg(reference)]
}

function solveArgs(config: BuildConfig, paths: Omit<BuildctlPaths, 'secretsFolder'>): string[] {
  const dockerfile = config.dockerfile_path ?? 'Dockerfile'
  const folder = paths.dockerfileFolder ?? posix.join(config.source_path, posix.dirname(dockerfile))
  const filename = paths.dockerfileFolder ? 'Dockerfile' : posix.basename(dockerfile)
  return [
    '--addr',
    `unix://${paths.socket}`,
    'build',
    '--progress=rawjson',
    '--frontend=dockerfile.v0',
    '--local',
    `context=${config.source_path}`,
    '--local',
    `dockerfile=${folder}`,
    ...importCacheArgs(config).flatMap((cache) => ['--import-cache', cache]),
    ...(paths.sourcePolicyFile ? ['--source-policy-file', paths.sourcePolicyFile] : []),
    ...optionsOf(config, filename).flatMap(([name, value]) => ['--opt', `${name}=${value}`]),
  ]
}

function outputOf(config: BuildConfig): string {
  const name = `${config.registry_url}/${config.image_repository}`
  const image = `type=image,name=${name},push=true,push-by-digest=true,oci-mediatypes=true`
  // Half the time of the default level for 6 % more bytes (90 MB of programs: 1.5 s and 2.9 s). Not zstd:
  // older tools can't unpack it.
  const compressed = `${image},compression=gzip,compression-level=3`
  // Files that steps made get the commit's time as well: the same commit gives the same digest.
  return config.source_date_epoch === undefined
    ? compressed
    : `${compressed},rewrite-timestamp=true`
}

function attestationsOf({ registry_url: registry, attestations = {} }: BuildConfig) {
  const { provenance = 'off', sbom = false } = attestations
  const wanted: [string, string][] = []
  if (provenance !== 'off') wanted.push(['provenance', `mode=${provenance},version=v1`])
  if (sbom) wanted.push(['sbom', `generator=${registry}/${SBOM_GENERATOR}`])
  return wanted
}

/** CSV; ids were checked by config.ts. */
function secretsOf({ secrets = [] }: BuildConfig, folder: string): string[] {
  return secrets.flatMap(({ id, env_var: name = id }) =>
    [...new Set([id, name])].map((offered) => `id=${offered},src=${folder}/${id}`),
  )
}

function optionsOf(config: BuildConfig, filename: string): [string, string][] {
  const options: [string, string][] = [
    ['filename', filename],
    // With `cmdline` set, BuildKit does not look for a `# syntax=` line: no frontend image of a tenant's
    // choice is pulled or run.
    ['cmdline', 'dockerfile.v0'],
  ]
  if (config.target !== undefined) options.push(['target', config.target])
  if (config.platform !== undefined) options.push(['platform', config.platform])
  if (config.network_mode === 'isolated') options.push(['force-network-mode', 'none'])
  for (const [name, value] of Object.entries(buildArgs(config))) {
    options.push([`build-arg:${name}`, value])
  }
  for (const [name, value] of Object.entries(config.labels ?? {})) {
    options.push([`label:${name}`, value])
  }
  return options
}

/** The user's arguments win over ours. */
function buildArgs(config: BuildConfig): Record<string, string> {
  const epoch = config.source_date_epoch
  return {
    ...(epoch === undefined ? {} : { SOURCE_DATE_EPOCH: String(epoch) }),
    ...proxyEnv(config),
    ...config.build_args,
  }
}

/** Credentials for both names of our registry; BuildKit sends `registrytoken` as it is, as Bearer. */
export function writeCredentials(config: BuildConfig, folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const token = config.registry_token
  const names = token ? [config.registry_url, config.registry_public_name] : []
  const auths = Object.fromEntries(names.map((name) => [name, { registrytoken: token }]))
  writeFileSync(`${folder}/config.json`, JSON.stringify({ auths }), { mode: 0o600 })
}

export interface Buildctl {
  /** What it prints on stderr, line by line; it waits while a line is being handled. */
  readonly lines: AsyncIterable<string>
  /** Resolves with its exit code; null when a signal ended it. */
  readonly exitCode: Promise<number | null>
  stop(): Promise<unknown>
}

export function startBuildctl(args: readonly string[], dockerConfig: string): Buildctl {
  const child: ChildProcess = spawn('buildctl', args, {
    env: { ...BASE_ENV, DOCKER_CONFIG: dockerConfig },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return {
    lines: createInterface({ input: child.stderr!, crlfDelay: Number.POSITIVE_INFINITY }),
    exitCode: exited(child).then(() => child.exitCode),
    stop: () => stopChild(child),
  }
}

/** The digest of what was pushed, as buildctl recorded it. */
export function readImageDigest(metadataFile: string): string | undefined {
  try {
    const metadata = JSON.parse(readFileSync(metadataFile, 'utf8')) as Record<string, unknown>
    const digest = metadata['containerimage.digest']
    return typeof digest === 'string' ? digest : undefined
  } catch {
    return undefined
  }
}
