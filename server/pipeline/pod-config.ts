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
}

export function resourcesOf(build: ClaimedBuild, timeoutSecondsDefault: number): Resources {
  const policy = build.request.build_policy ?? {}
  return {
    timeoutSeconds: policy.timeout_seconds ?? timeoutSecondsDefault,
    memoryMb: policy.memory_mb ?? BUILD_MEMORY_MB_DEFAULT,
    cpus: policy.cpus ?? BUILD_CPUS_DEFAULT,
    networkMode: policy.network_mode ?? 'egress',
  }
}

export function podConfig(
  build: ClaimedBuild,
  resources: Resources,
  registry: { token: string; publicName: string },
  secrets: Pick<BuildSecrets, 'given' | 'nonce'>,
): BuildConfig {
  const { request } = build
  const optional = {
    dockerfile: request.dockerfile,
    dockerfile_path: request.dockerfile_path,
    target: request.target,
    build_args: request.build_args,
    cache_scope: request.cache_scope,
    no_cache: request.no_cache,
    source_date_epoch: request.source_date_epoch,
  }
  const present = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    job_id: build.id,
    registry_url: 'localhost:5000',
    registry_public_name: registry.publicName,
    registry_token: registry.token,
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
