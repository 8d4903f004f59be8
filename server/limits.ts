// Every bound of the server in one place; the unit is the last word of the name.

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

// Queue (DESIGN §4.1). The database clock is the only clock for leases.
export const LEASE_MS = 30_000
export const HEARTBEAT_MS = 10_000
export const REAPER_INTERVAL_MS = 5_000
export const QUEUE_POLL_MS = 1_000
export const BUILD_ATTEMPTS_MAX = 2

// One build
export const BUILD_TIMEOUT_SECONDS_MAX = 6 * 60 * 60
export const BUILD_MEMORY_MB_DEFAULT = 2048
export const BUILD_MEMORY_MB_MIN = 512
export const BUILD_MEMORY_MB_MAX = 16_384
export const BUILD_CPUS_DEFAULT = 2
export const BUILD_CPUS_MAX = 8
export const BUILD_DISK_BYTES = 20 * GiB
export const BUILD_ARGS_MAX = 100
export const BUILD_ARG_BYTES_MAX = 64 * KiB

// Phases of a build, each with its own deadline; generous because guests may run emulated (TCG).
export const BOOT_DEADLINE_MS = 120_000
export const HELLO_DEADLINE_MS = 60_000
export const PREPARE_DEADLINE_MS = 300_000
export const PUSH_DEADLINE_MS = 900_000
export const AGENT_SILENCE_MAX_MS = 60_000
export const CANCEL_GRACE_MS = 2_000
/** How long DELETE /builds/{id} waits for the VM to be gone. */
export const CANCEL_DEADLINE_MS = 20_000
export const STOP_GRACE_MS = 10_000

// Source archives
export const SOURCE_BYTES_MAX = 512 * MiB
export const SOURCE_ENTRIES_MAX = 200_000
export const SOURCE_PATH_BYTES_MAX = 4_096

// Git over HTTP
export const PACK_BYTES_MAX = 1 * GiB
export const PUSH_REFS_MAX = 256
export const PUSH_COMMANDS_BYTES_MAX = 64 * KiB
export const DISK_FREE_BYTES_MIN = 1 * GiB
export const HOOK_CONNECT_DEADLINE_MS = 10_000

// Log of a build: head and tail are kept, the cut between them is named.
export const LOG_HEAD_BYTES_MAX = 16 * MiB
export const LOG_TAIL_BYTES_MAX = 1 * MiB
export const LOG_LINE_BYTES_MAX = 256 * KiB
export const LOG_BATCH_LINES_MAX = 500
export const LOG_BATCH_DELAY_MS = 50
export const LOG_READ_ROWS_MAX = 1_000
export const FOLLOW_POLL_MS = 1_000
export const SSE_HEARTBEAT_MS = 15_000
export const SIDEBAND_HEARTBEAT_MS = 30_000
export const CONSOLE_RING_BYTES_MAX = 256 * KiB

// Tokens
export const REGISTRY_TOKEN_TTL_MIN_SECONDS = 30 * 60
export const API_TOKEN_TTL_SECONDS_DEFAULT = 24 * 60 * 60

// REST
export const JSON_BODY_BYTES_MAX = 1 * MiB
export const PAGE_ROWS_DEFAULT = 50
export const PAGE_ROWS_MAX = 200
export const REPORT_DAYS_DEFAULT = 30
export const REPORT_DAYS_MAX = 366

// Housekeeping
export const RECONCILE_INTERVAL_MS = 60_000
export const FINISH_RETRY_MS = 2_000

// Registry
export const MANIFEST_BYTES_MAX = 4 * MiB
export const REGISTRY_SESSION_TTL_SECONDS = 5 * 60
export const TOKEN_SCOPES_MAX = 50

// Way out of a build (egress)
export const EGRESS_CONNECT_DEADLINE_MS = 30_000
export const EGRESS_IDLE_MAX_MS = 300_000
export const EGRESS_CONNECTIONS_MAX = 256
