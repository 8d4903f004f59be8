// The source of a build, from wherever it comes: the host's archive, or a repository that is named.
import { rmSync } from 'node:fs'
import { note } from './clock.ts'
import { type FetchOptions, fetchSource } from './fetch.ts'
import { FetchFailure } from './fetch-failure.ts'
import type {
  BuildConfig,
  EventMessage,
  FetchedSource,
  RepoConfig,
  SubmoduleConfig,
} from './protocol.ts'
import { PROXY_URL } from './proxy.ts'
import { type SourceInput, unpackSource } from './source.ts'

export interface TakeSourceOptions {
  config: BuildConfig
  source: SourceInput
  runFolder: string
  secretsFolder: string
  caFile: string | undefined
  emit(message: EventMessage): void
  signal: AbortSignal
}

/** Resolves with the configuration as the build goes on with it. */
export async function takeSource(options: TakeSourceOptions): Promise<BuildConfig> {
  const { config, source, emit } = options
  const log = (line: string) => emit({ type: 'log', log: line })
  if (config.repo) return fetchRepo(options, config.repo, log)
  await unpackSource({ input: source, folder: config.source_path, warn: log })
  note('source unpacked')
  for (const submodule of config.submodules ?? []) await fetchSubmodule(options, submodule, log)
  return config
}

async function fetchSubmodule(
  { config, runFolder, caFile, signal }: TakeSourceOptions,
  { path, url, commit }: SubmoduleConfig,
  log: FetchOptions['log'],
): Promise<void> {
  try {
    await fetchSource({
      repo: { url, commit },
      folder: `${config.source_path}/${path}`,
      runFolder,
      proxy: PROXY_URL,
      caFile,
      log,
      signal,
    })
  } catch (error) {
    if (!(error instanceof FetchFailure)) throw error
    throw new FetchFailure(`submodule ${path}: ${error.message}`, error.failureClass)
  }
  note('submodule fetched')
}

async function fetchRepo(
  { config, runFolder, secretsFolder, caFile, emit, signal }: TakeSourceOptions,
  repo: RepoConfig,
  log: FetchOptions['log'],
): Promise<BuildConfig> {
  const { secret } = repo
  const secretFile = secret === undefined ? undefined : `${secretsFolder}/${secret}`
  const fetched = await fetchSource({
    repo,
    folder: config.source_path,
    runFolder,
    proxy: PROXY_URL,
    caFile,
    secretFile,
    log,
    signal,
  })
  const isMounted = config.secrets?.some(({ id }) => id === secret)
  if (secretFile && !isMounted) rmSync(secretFile, { force: true })
  note('source fetched')
  emit({ type: 'source', source: fetched })
  return withFetched(config, fetched)
}

/** The commit's own time and name, as if it had been pushed. */
export function withFetched(config: BuildConfig, fetched: FetchedSource): BuildConfig {
  const { commit, committed_at: seconds, hash } = fetched
  return {
    ...config,
    source_hash: hash,
    source_date_epoch: seconds,
    labels: {
      ...config.labels,
      'org.opencontainers.image.revision': commit,
      'org.opencontainers.image.created': new Date(seconds * 1000).toISOString(),
    },
  }
}
