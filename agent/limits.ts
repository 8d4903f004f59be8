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
export const CHILD_STOP_GRACE_MS = 3_000
/** How long the host may take to read the result before the agent gives up waiting. */
export const RESULT_DRAIN_MS = 10_000
/** A finished step is reported after this pause, unless it starts again. */
export const STEP_SETTLE_MS = 100
