// From a claimed build to what its pod is given: resources by policy, and /config/build.json.
import type { BuildConfig, NetworkMode, RepoConfig, SubmoduleConfig } from '../../agent/protocol.ts'
import type { CachePlan } from '../cache/plan.ts'
import { BUILD_CPUS_DEFAULT, BUILD_MEMORY_MB_DEFAULT, CACHE_EXPORT_DEADLINE_MS } from '../limits.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { BuildSecrets } from './build-secrets.ts'

export interface Resources {
  timeoutSeconds: number
  memoryMb: number
  cpus: number
  networkMode: NetworkMode
  /** Undefined: every public one. */
  allowedDomains: string[] | undefined
}

export function resourcesOf(build: ClaimedBuild, timeoutSecondsDefault: number): Resources {
  const policy = build.request.build_policy ?? {}
  return {
    timeoutSeconds: policy.timeout_seconds ?? timeoutSecondsDefault,
    memoryMb: policy.memory_mb ?? BUILD_MEMORY_MB_DEFAULT,
    cpus: policy.cpus ?? BUILD_CPUS_DEFAULT,
    networkMode: policy.network_mode ?? 'egress',
    allowedDomains: policy.allowed_domains,
  }
}

export interface PodGiven {
  token: string
  publicName: string
  channelKey: string
  cache: CachePlan
  /** Registries that are read through ours. */
  mirrors: readonly string[]
  /** Where the source is hosted, when it is. */
  sourceUrl?: string | undefined
  /** PEM. */
  caCertificates?: string | undefined
}

export function podConfig(
  build: ClaimedBuild,
  resources: Resources,
  given: PodGiven,
  secrets: Pick<BuildSecrets, 'given' | 'nonce'>,
): BuildConfig {
  const { request } = build
  const optional = {
    dockerfile: request.dockerfile,
    dockerfile_path: request.dockerfile_path,
    target: request.target,
    base_image_digest: request.base_image_digest,
    platform: request.platform,
    build_args: request.build_args,
    cache_scope: request.cache_scope,
    global_cache_key: request.global_cache_key,
    is_admin_build: request.is_admin_build,
    attestations: { provenance: 'min', ...request.attestations },
    no_cache: request.no_cache,
    source_date_epoch: request.source_date_epoch,
    allowed_domains: resources.allowedDomains,
    repo: repoOf(build),
    submodules: fetchedSubmodules(build),
    ca_certificates: given.caCertificates,
    registry_mirrors: given.mirrors.length > 0 ? given.mirrors : undefined,
    cache_imports: given.cache.imports.length > 0 ? given.cache.imports : undefined,
    cache_export: given.cache.export,
    cache_export_seconds:
      given.cache.export === undefined ? undefined : CACHE_EXPORT_DEADLINE_MS / 1000,
  }
  const isAsked = secrets.given.length > 0 || request.repo_secret !== undefined
  const present = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    job_id: build.id,
    channel_key: given.channelKey,
    registry_url: 'localhost:5000',
    registry_public_name: given.publicName,
    registry_token: given.token,
    image_repository: `builds/${build.id}`,
    source_path: '/src',
    source_hash: build.sourceHash,
    ...(secrets.given.length === 0 ? {} : { secrets: secrets.given }),
    ...(isAsked ? { secrets_nonce: secrets.nonce } : {}),
    timeout_seconds: resources.timeoutSeconds,
    network_mode: resources.networkMode,
    labels: labelsOf(build, given.sourceUrl),
    ...Object.fromEntries(present),
  }
}

function repoOf({ request, ref, commit }: ClaimedBuild): RepoConfig | undefined {
  const { repo_url: url, repo_secret: secret } = request
  if (url === undefined) return undefined
  return {
    url,
    ...(ref === undefined ? {} : { ref }),
    // What an attempt before this one has fetched: wherever the branch is now, the build is of one commit.
    ...(commit === undefined ? {} : { commit }),
    ...(secret === undefined ? {} : { secret }),
  }
}

/** Those that are not in the archive. */
function fetchedSubmodules({ request }: ClaimedBuild): SubmoduleConfig[] | undefined {
  const fetched = (request.submodules ?? []).filter(({ app }) => app === undefined)
  if (fetched.length === 0) return undefined
  return fetched.map(({ path, url, commit }) => ({ path, url, commit }))
}

function labelsOf({ commit, request }: ClaimedBuild, sourceUrl?: string): Record<string, string> {
  const epoch = request.source_date_epoch
  const labels = {
    revision: commit,
    source: sourceUrl,
    // The commit's time, not the build's: the same commit gives the same image.
    created: epoch === undefined ? undefined : new Date(epoch * 1000).toISOString(),
  }
  const named = Object.entries(labels)
    .filter((label): label is [string, string] => label[1] !== undefined)
    .map(([name, value]) => [`org.opencontainers.image.${name}`, value])
  const pinned = request.submodules?.map(({ path, url, commit }) => ({ path, url, commit }))
  const submodules = pinned ? [['hypeman.submodules', JSON.stringify(pinned)]] : []
  return Object.fromEntries([...named, ...submodules])
}
