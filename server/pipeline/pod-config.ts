// From a claimed build to what its pod is given: resources by policy, and /config/build.json.
import type { BuildConfig, NetworkMode } from '../../agent/protocol.ts'
import { BUILD_CPUS_DEFAULT, BUILD_MEMORY_MB_DEFAULT } from '../limits.ts'
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

export function podConfig(
  build: ClaimedBuild,
  resources: Resources,
  given: { token: string; publicName: string; channelKey: string },
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
    no_cache: request.no_cache,
    source_date_epoch: request.source_date_epoch,
    allowed_domains: resources.allowedDomains,
  }
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
    ...(secrets.given.length === 0 ? {} : { secrets: secrets.given, secrets_nonce: secrets.nonce }),
    timeout_seconds: resources.timeoutSeconds,
    network_mode: resources.networkMode,
    labels: {
      ...(build.commit ? { 'org.opencontainers.image.revision': build.commit } : {}),
    },
    ...Object.fromEntries(present),
  }
}
