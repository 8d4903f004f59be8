// The shared wire vocabulary of host and agent: one JSON message per line over the channel
// (vsock port 5001), and the shape of /config/build.json. Follows seed 000's VsockMessage and BuildConfig.
// The agent greets every caller; the host proves itself with the key of the build and says what it has. What
// the agent tells of the build is numbered and kept until acknowledged, so a broken channel loses nothing.
// Types and names only: both sides import it, it imports nothing.

/** Version of the messages below; host and agent of different versions do not talk. */
export const PROTOCOL_VERSION = 1
/** The agent listens here inside the guest (seed 000). */
export const AGENT_PORT = 5001
/** Guest → host: the registry proxy; inside the guest it is localhost:5000. */
export const REGISTRY_PORT = 5000
/** Guest → host: the build's secrets, given once; exists only for builds that have some. */
export const SECRETS_PORT = 5002
/** Guest → host: the egress proxy; exists only for builds with network_mode egress. */
export const EGRESS_PORT = 3128

/** Printed on the console when AGENT_PORT is open. */
export const LISTENING_NOTE = 'agent is listening'

/** Printed on the console when the disk of a builder was left in good order. */
export const CACHE_DISK_CLEAN_NOTE = 'the builder is in good order'

/** How BuildKit names a step of the Dockerfile, `[build 2/5] RUN make`; its own work it names otherwise. */
export const DOCKERFILE_STEP = /^\[(?!internal\])[^\]]*\d+\/\d+\] /

export const MESSAGE_BYTES_MAX = 1024 * 1024

export type NetworkMode = 'isolated' | 'egress'

/** /config/build.json: seed 000's fields, plus what a pushed build needs. */
export interface BuildConfig {
  job_id: string
  /** What the host shows to the agent, so that nothing else in the guest can speak as the host. */
  channel_key: string
  /** Text of a Dockerfile; wins over the one in the source and is never written there. */
  dockerfile?: string
  /** Path of the Dockerfile relative to source_path; default `Dockerfile`. */
  dockerfile_path?: string
  target?: string
  /** The digest the final stage's base image must have. */
  base_image_digest?: string
  /** `linux/amd64`; only the guest's own. */
  platform?: string
  /** Registry as the guest reaches it, without scheme: `localhost:5000`. */
  registry_url: string
  /** Public name of the same registry (`host:port`): a FROM of it goes through the tunnel. */
  registry_public_name: string
  /** Registries that are read through ours, below `mirror/`: `docker.io`. */
  registry_mirrors?: string[]
  registry_token?: string
  /** Repository the image is pushed to, by digest: `builds/<id>`. */
  image_repository: string
  cache_scope?: string
  /** Repositories whose cache is used, asked in this order. */
  cache_imports?: string[]
  /** Repository the cache is written to when the image is there. */
  cache_export?: string
  /** How long that may take. */
  cache_export_seconds?: number
  source_path: string
  source_hash: string
  build_args?: Record<string, string>
  /** Those the host gives on SECRETS_PORT, and that of `repo`; the agent does not build without each of them. */
  secrets?: GivenSecret[]
  /** What the host wants to hear before it gives them; of use once. */
  secrets_nonce?: string
  timeout_seconds: number
  network_mode: NetworkMode
  /** What the host's egress proxy lets this build reach. */
  allowed_domains?: string[]
  is_admin_build?: boolean
  global_cache_key?: string
  no_cache?: boolean
  /** What is pushed beside the image, about it. */
  attestations?: Attestations
  /** Commit time in seconds, for SOURCE_DATE_EPOCH. */
  source_date_epoch?: number
  /** Labels put on the image, for example org.opencontainers.image.revision. */
  labels?: Record<string, string>
  cache_disk?: CacheDiskConfig
  /** Where the source comes from, instead of the host. */
  repo?: RepoConfig
  /** Repositories elsewhere that belong into the source; the agent fetches them. */
  submodules?: SubmoduleConfig[]
  /** PEM; trusted beside the system's, by what fetches the source and base images. */
  ca_certificates?: string
}

/** A repository elsewhere; the agent fetches one commit of it. */
export interface RepoConfig {
  /** https, without credentials. */
  url: string
  /** Branch, tag, full name or full hash; absent: what HEAD is there. */
  ref?: string
  /** The commit that an earlier attempt has fetched; wins over ref. */
  commit?: string
  /** Id of the secret that opens it: `user:password`, or a password alone. */
  secret?: string
}

export interface SubmoduleConfig {
  /** Relative to source_path. */
  path: string
  /** https, without credentials. */
  url: string
  commit: string
}

/** What was fetched. */
export interface FetchedSource {
  commit: string
  /** Full name, when it has one. */
  ref?: string
  /** Committer's time in seconds since the epoch. */
  committed_at: number
  /** SHA-256 of git's archive of it, as source_hash. */
  hash: string
}

/** The disk of a builder, behind the others. */
export interface CacheDiskConfig {
  /** Above it the least recently used state goes. */
  max_used_mb: number
  /** State that nobody has used for so long goes, when there is much of it. */
  keep_hours: number
  /** Whether it is to be left in good order after a success. */
  save: boolean
}

/** Absent: none. */
export interface Attestations {
  provenance?: 'min' | 'max' | 'off'
  sbom?: boolean
}

export interface GivenSecret {
  id: string
  /** The Dockerfile finds it under this id as well. */
  env_var?: string
}

/** One line from the agent over SECRETS_PORT, and one line back; whoever is refused gets nothing. */
export interface SecretsRequest {
  type: 'get_secrets'
  nonce: string
  secret_ids: string[]
}

export interface SecretsReply {
  type: 'secrets'
  /** By id, as base64. */
  secrets: Record<string, string>
}

export type FailureClass =
  | 'build'
  | 'source'
  | 'timeout'
  | 'oom'
  | 'disk'
  | 'registry'
  | 'infra'
  | 'lost'

export type StepState = 'started' | 'cached' | 'done' | 'failed'

/** One BuildKit vertex, numbered in order of first appearance. */
export interface Step {
  /** 1-based, stable within one build. */
  n: number
  /** As BuildKit names it: `[2/4] RUN npm ci`. */
  name: string
  state: StepState
  started_at?: string
  completed_at?: string
  duration_ms?: number
  error?: string
}

export interface FailedStep {
  n: number
  name: string
  exit_code?: number
  /** The last lines it printed, oldest first. */
  last_lines: string[]
}

/** One FROM that was really used. */
export interface BaseImage {
  ref: string
  digest: string
}

export interface Provenance {
  base_image_digest?: string
  base_images?: BaseImage[]
  source_hash: string
  lockfile_hashes?: Record<string, string>
  buildkit_version: string
  /** RFC 3339, when the build completed. */
  timestamp: string
}

export interface BuildResult {
  success: boolean
  image_digest?: string
  /** One sentence: what failed. */
  error?: string
  failure_class?: FailureClass
  failed_step?: FailedStep
  /** What is wrong with the disk of the builder. */
  cache_trouble?: string
  provenance: Provenance
  duration_ms: number
  /** Connections through the way out that the host has answered; it must have recorded each. */
  network_connections?: number
  cache?: CacheUse
}

export interface CacheUse {
  /** Repositories in which a cache was found. */
  imported: string[]
  /** Of a build that may export: whether it has; told after the result. */
  exported?: boolean
}

/** What the agent is busy with; `pushing` becomes the build's status. */
export type AgentPhase = 'preparing' | 'building' | 'pushing'

/** What the agent tells of the build, in this order: each goes out with a number of its own. */
export type EventMessage =
  | { type: 'status'; status: AgentPhase }
  | { type: 'step'; step: Step }
  /** One line, without its newline. `step` is the number of the vertex that printed it. */
  | { type: 'log'; log: string; step?: number }
  /** Once, before the build, when the agent has fetched the source. */
  | { type: 'source'; source: FetchedSource }
  | { type: 'result'; result: BuildResult }
  /** After the result of a build that has a cache to export. */
  | { type: 'cache'; exported: boolean }

/** `seq` begins at 1 and has no gaps. */
export type NumberedMessage = EventMessage & { seq: number }

export type AgentMessage =
  /** Before anything else, to every caller. */
  | { type: 'hello'; protocol: number; job_id: string; boot_ms: number }
  | NumberedMessage
  /** Answer to get_status; `last` is the highest number given so far. */
  | { type: 'status'; status: AgentPhase | 'completed'; last: number }
  | { type: 'heartbeat' }
  /** Why the agent cannot talk to this caller; it hangs up. */
  | { type: 'error'; error: string }

export type HostMessage =
  /** Makes the caller the host. What follows `after` is sent, again if need be. */
  | { type: 'host_ready'; protocol: number; key: string; after: number }
  /** Everything up to this number is taken; the agent may forget it. */
  | { type: 'ack'; seq: number }
  | { type: 'get_status' }
  /** Once more what is not acknowledged, up to the result when the build has ended. */
  | { type: 'get_result' }
  | { type: 'cancel'; reason: string }
