// Bounds inside the guest; the host has its own and trusts none of these.
/** A Dockerfile and build arguments of 1 MiB each, escaped. */
export const CONFIG_BYTES_MAX = 16 * 1024 * 1024
/** A longer line is sent as several; JSON may escape one character as six. */
export const LOG_LINE_CHARS_MAX = 64 * 1024
export const STEP_NAME_CHARS_MAX = 1_000
export const ERROR_CHARS_MAX = 2_000
export const LAST_LINES_MAX = 20
export const LAST_LINE_CHARS_MAX = 2_000
export const PLAIN_LINES_MAX = 200
/** Skipped entries of the source are named one by one up to this many. */
export const WARNINGS_MAX = 20
export const LOCKFILE_BYTES_MAX = 64 * 1024 * 1024
/** The host's own bound is 512 KiB of secrets, as base64 and JSON. */
export const SECRETS_REPLY_BYTES_MAX = 1024 * 1024
export const SECRETS_DEADLINE_MS = 30_000
export const HEARTBEAT_MS = 5_000
export const BUILDKITD_READY_DEADLINE_MS = 120_000
export const BUILDKITD_POLL_MS = 25
export const BUILDKITD_LOG_LINES_MAX = 100
/** At once, through the way out. */
export const EGRESS_DOOR_CONNECTIONS_MAX = 128
/** When the host says nothing else. */
export const CACHE_EXPORT_DEADLINE_MS = 120_000
export const CHILD_STOP_GRACE_MS = 3_000
/** The state of a builder is worth more patience. */
export const BUILDKITD_SAVE_GRACE_MS = 20_000
export const PRUNE_DEADLINE_MS = 15_000
/** Told but not yet acknowledged; when it is full, the build waits. */
export const OUTBOX_BYTES_MAX = 2 * 1024 * 1024
/** How long a build goes on without its host before it is given up. Longer than the host tries to come back. */
export const HOST_ABSENCE_MAX_MS = 90_000
/** Callers that have not shown the key yet: no more than these, no longer than this, no longer line. */
export const CALLERS_MAX = 8
export const CALLER_DEADLINE_MS = 10_000
export const CALLER_BYTES_MAX = 4 * 1024
/** A finished step is reported after this pause, unless it starts again. */
export const STEP_SETTLE_MS = 100
/** A repository that the agent fetches: the pack, the files in it, and what git may say. */
export const FETCH_PACK_BYTES_MAX = 1024 * 1024 * 1024
export const FETCHED_BYTES_MAX = 512 * 1024 * 1024
/** Shorter than what the host gives for the preparation of a build. */
export const FETCH_DEADLINE_SECONDS = 240
/** With less than 1000 bytes a second. */
export const FETCH_STALL_SECONDS = 60
export const GIT_OUTPUT_BYTES_MAX = 64 * 1024
/** A Dockerfile is read by the agent only to find the base image that is to be pinned. */
export const DOCKERFILE_BYTES_MAX = 1024 * 1024
export const BASE_IMAGES_MAX = 500
