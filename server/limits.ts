// Every bound of the server in one place; the unit is the last word of the name.

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

// Queue (DESIGN §4.1). The database clock is the only clock for leases.
export const LEASE_MS = 30_000
export const HEARTBEAT_MS = 10_000
export const REAPER_INTERVAL_MS = 5_000
/** After the database was away: living workers renew their leases within it. */
export const REAPER_GRACE_MS = 2 * HEARTBEAT_MS + 5_000
/** A database clock that moves so much more or less than time does has been set. */
export const CLOCK_JUMP_MS = HEARTBEAT_MS
/** What the end of a build's registry token has to spare for a clock that is set: it ends with the lease anyway. */
export const CLOCK_JUMP_SPARE_SECONDS = 2 * 60 * 60
/** A build goes on without the database for so long: each of its writes is fenced, and waits. */
export const DATABASE_AWAY_MAX_MS = 5 * 60_000
export const DATABASE_RETRY_MS = 1_000
export const DATABASE_CONNECT_DEADLINE_MS = 10_000
/** Of what every request asks first; a database that is silent for that long is away. */
export const DATABASE_ANSWER_DEADLINE_MS = 10_000
export const QUEUE_POLL_MS = 1_000
export const BUILD_ATTEMPTS_MAX = 2
/** Within its tenant; what is above goes before the builds of all tenants and needs build:admin. */
export const PRIORITY_MIN = -10
export const PRIORITY_MAX = 10
export const PRIORITY_ADMIN_MAX = 20
/** How long a build waits for the worker that has its builder's disk before another one may take it. */
export const BUILDER_AFFINITY_MS = 5_000
/** A claim that meets others at the same rows. */
export const CLAIM_TRIES_MAX = 5
export const QUEUE_TTL_HOURS_DEFAULT = 24
export const QUEUE_TTL_HOURS_MAX = 30 * 24
/** Expired at once, so that no round of the reaper takes long. */
export const QUEUE_EXPIRED_BATCH_MAX = 100

// One build
export const BUILD_TIMEOUT_SECONDS_MAX = 6 * 60 * 60
export const BUILD_MEMORY_MB_DEFAULT = 2048
export const BUILD_MEMORY_MB_MIN = 512
export const BUILD_MEMORY_MB_MAX = 16_384
export const BUILD_CPUS_DEFAULT = 2
export const BUILD_CPUS_MAX = 8
/** The disk is sparse. Of builds with a builder, what is not BuildKit's state; BUILD_DISK_GB sets another size. */
export const BUILD_DISK_GB_DEFAULT = 20
export const BUILD_DISK_GB_MAX = 1_000
export const BUILD_ARGS_MAX = 100
export const BUILD_ARG_BYTES_MAX = 64 * KiB
export const BUILD_TAGS_MAX = 50
/** Of one build, for what it says of its cache. */
export const STEPS_COUNTED_MAX = 100_000
export const BUILD_SECRETS_MAX = 50
export const ALLOWED_DOMAINS_MAX = 100

// Builders (persistent cache disks)
/** The disk is sparse: it takes what its state takes. */
export const BUILDER_DISK_GB_DEFAULT = 20
export const BUILDER_DISK_GB_MAX = 200
/** All of them on one worker; BUILDER_DISKS_MAX_GB sets another one. */
export const BUILDER_DISKS_GB_DEFAULT = 200
export const BUILDER_DISKS_GB_MAX = 1_000_000
/** A build works on a copy, so the largest one of a worker is this part of that. */
export const BUILDER_DISK_SHARE_MAX = 0.5
/** Those of apps do not count. */
export const BUILDERS_PER_TENANT_MAX = 100
/** Share of the disk that BuildKit's state may keep between builds. */
export const BUILDER_USED_SHARE_MAX = 0.6
/** State that no build has used for so long is pruned first. */
export const BUILDER_KEEP_HOURS = 7 * 24
/** A builder that no build has used for so long loses its disk. */
export const BUILDER_IDLE_DAYS = 30
/** From the result of a build to the new generation of its builder. */
export const BUILDER_SAVE_DEADLINE_MS = 90_000
export const BUILDER_CLONE_DEADLINE_MS = 120_000
export const BUILDERS_TIDY_INTERVAL_MS = 10 * 60_000

// Secrets
export const SECRET_BYTES_MAX = 64 * KiB
/** Of one build, all together. */
export const BUILD_SECRETS_BYTES_MAX = 512 * KiB
export const APP_SECRETS_MAX = 200
/** Shorter values are not hidden in logs: they would blot out half of them. */
export const SECRET_HIDDEN_CHARS_MIN = 4
/** Work spent on one line of a log; a line that needs more is hidden as a whole. */
export const REDACTION_COMPARED_CHARS_MAX = 4_000_000
export const SECRETS_REQUEST_BYTES_MAX = 16 * KiB
export const SECRETS_REQUEST_DEADLINE_MS = 10_000

// Phases of a build, each with its own deadline; generous because guests may run emulated (TCG).
export const BOOT_DEADLINE_MS = 120_000
export const HELLO_DEADLINE_MS = 60_000
export const PREPARE_DEADLINE_MS = 300_000
export const PUSH_DEADLINE_MS = 900_000
/** After the image is there: the agent ends the export of the cache, or the host does a moment later. */
export const CACHE_EXPORT_DEADLINE_MS = 120_000
export const CACHE_EXPORT_GRACE_MS = 10_000
/** An agent that says nothing is asked how it is, then dialled anew, then given up. */
export const AGENT_ASK_AFTER_MS = 20_000
export const AGENT_REDIAL_AFTER_MS = 40_000
export const AGENT_SILENCE_MAX_MS = 60_000
/** How long a broken channel is dialled anew; the agent keeps the build going for longer. */
export const AGENT_REDIAL_MAX_MS = 45_000
export const AGENT_REDIAL_DELAY_MS = 200
/** What the agent has told is acknowledged after so many messages, or so much time. */
export const AGENT_ACK_MESSAGES = 256
export const AGENT_ACK_DELAY_MS = 100
/** How long DELETE /builds/{id} waits for the VM to be gone: a lost worker's lease runs out within it. */
export const CANCEL_DEADLINE_MS = 45_000
export const STOP_GRACE_MS = 10_000

export const QUEUED_BUILDS_PER_TENANT_MAX = 1_000
export const QUEUE_FULL_RETRY_SECONDS = 30
export const IDEMPOTENCY_KEY_CHARS_MAX = 255
export const IDEMPOTENCY_TTL_HOURS = 24

// Room on the disk
/** Below it no builds are claimed; DISK_FLOOR_MB sets another. */
export const DISK_FLOOR_MB_DEFAULT = 2 * 1024
/** Times the floor: from there on builds are claimed again. */
export const DISK_RECOVERED_SHARE = 1.25
/** Below it nothing comes in: no push, no upload; or half the floor where that is less. */
export const DISK_FREE_BYTES_MIN = 1 * GiB
/** What is uploaded between two looks at the room. */
export const DISK_LOOK_BYTES = 8 * MiB
export const DISK_LOOK_INTERVAL_MS = 5_000
/** A worker that is low on disk says so again after so long, and is believed for so long. */
export const LOW_DISK_RECORD_MS = 5_000
export const LOW_DISK_STALE_MS = 30_000

// Source archives
/** As uploaded, or as `git archive` makes it. */
export const SOURCE_BYTES_MAX = 512 * MiB
/** Of an uploaded archive, unzipped. */
export const SOURCE_EXPANDED_BYTES_MAX = 2 * GiB
export const SOURCE_ENTRIES_MAX = 200_000
export const SOURCE_PATH_BYTES_MAX = 4_096
export const REPO_URL_CHARS_MAX = 2_048
/** Of one commit, those of its submodules included. */
export const SUBMODULES_MAX = 100
/** In each other. */
export const SUBMODULE_DEPTH_MAX = 5
export const ARCHIVE_DEADLINE_MS = 600_000

// Object storage
export const S3_ATTEMPTS_MAX = 5
export const S3_CONNECT_DEADLINE_MS = 10_000
/** Without a byte in either direction. */
export const S3_IDLE_DEADLINE_MS = 60_000
/** An upload has at most 10,000 of them. */
export const S3_PART_BYTES = 8 * MiB
export const S3_PARTS_AT_ONCE = 2
/** What was staged and not kept for so long is nobody's any more. */
export const S3_INCOMING_AGE_MS = 24 * 60 * 60_000

// Git over HTTP
export const PACK_BYTES_MAX = 1 * GiB
export const PUSH_REFS_MAX = 256
export const PUSH_COMMANDS_BYTES_MAX = 64 * KiB
export const PUSH_CAPABILITIES_BYTES_MAX = 4 * KiB
export const PUSH_OPTIONS_MAX = 128
export const PUSH_OPTIONS_BYTES_MAX = 256 * KiB
export const REF_NAME_BYTES_MAX = 512
/** Under way at once: each holds a git process for as long as its build is watched. */
export const PUSHES_PER_TOKEN_MAX = 64
export const PUSHES_PER_TENANT_MAX = 128
/** A client that takes nothing of an answer for so long is cut off. */
export const GIT_STALL_MAX_MS = 120_000
/** A client that sends nothing for so long, while the server waits for it, is cut off. */
export const GIT_IDLE_MAX_MS = 300_000
/** From the first byte of a push to the last, however steadily they come. */
export const GIT_BODY_DEADLINE_MS = 6 * 60 * 60_000
/** Of one line that git or a hook says to the server: a ref and its two commits. */
export const HOOK_LINE_CHARS_MAX = 8 * KiB
/** Of the reason in `! [remote rejected] main -> main (<reason>)`. */
export const REJECTION_CHARS_MAX = 160
/** How often a gated push looks whether its build is done; a notification is faster. */
export const GATE_POLL_MS = 1_000
/** How long hooks may take to say goodbye when the server stops. */
export const HOOK_STOP_GRACE_MS = 1_000

// Git LFS
/** A larger one could not be built: the limit of a source holds with its objects in it. */
export const LFS_OBJECT_BYTES_MAX = SOURCE_BYTES_MAX
/** Named in one request; git-lfs asks for 100 at a time. */
export const LFS_BATCH_OBJECTS_MAX = 1_000
/** Of one request, that are not here yet. */
export const LFS_BATCH_BYTES_MAX = 4 * GiB
export const LFS_APP_BYTES_MAX = 20 * GiB
/** What no ref of its app names stays for so long, as git's own gc has it. */
export const LFS_UNNAMED_DAYS = 14

// Log of a build: head and tail are kept, the cut between them is named.
export const LOG_HEAD_BYTES_MAX = 16 * MiB
export const LOG_TAIL_BYTES_MAX = 1 * MiB
/** What a build says of its steps, beside its lines. */
export const STEPS_BYTES_MAX = 16 * MiB
export const LOG_LINE_BYTES_MAX = 256 * KiB
export const LOG_BATCH_LINES_MAX = 500
export const LOG_BATCH_DELAY_MS = 50
export const LOG_READ_ROWS_MAX = 1_000
/** A page of a log, beyond its first line: what one reader that stops reading may hold. */
export const LOG_READ_BYTES_MAX = 256 * KiB
/** Of git's record of a branch's moves: some hundred of them. */
export const REF_LOG_READ_BYTES = 64 * KiB
/** Pages that followers of one build share. */
export const FEED_BYTES_MAX = 4 * MiB
export const FOLLOW_POLL_MS = 1_000
export const SSE_HEARTBEAT_MS = 15_000
/** A reader of a streamed log that takes nothing for so long is dropped; it may resume. */
export const STREAM_STALL_MS = 30_000
export const SIDEBAND_HEARTBEAT_MS = 30_000
export const SIDEBAND_LINE_CHARS_MAX = 1_000
export const SIDEBAND_TAIL_LINES_MAX = 20
export const SIDEBAND_POSITION_POLL_MS = 1_000
export const CONSOLE_RING_BYTES_MAX = 256 * KiB

// Tokens
export const REGISTRY_TOKEN_TTL_MIN_SECONDS = 30 * 60
/** A revocation is kept for so long after its token has ended: not every clock is the same. */
export const REVOKED_KEEP_DAYS = 7
export const API_TOKEN_TTL_SECONDS_DEFAULT = 24 * 60 * 60
export const API_TOKEN_TTL_SECONDS_MAX = 3650 * 24 * 60 * 60

// REST
export const HTTP_HEADERS_DEADLINE_MS = 60_000
/** Of one request, its first line included. */
export const HTTP_HEADERS_BYTES_MAX = 16 * KiB
/** Asked on one connection before the first of them is answered. */
export const HTTP_REQUESTS_PER_CONNECTION_MAX = 32
/** How long a client whose request was none may take to read why. */
export const HTTP_REFUSAL_LINGER_MS = 2_000
/** What must come of a body between two looks once its answer is out; who fails it twice is cut off. */
export const HTTP_LEFTOVER_BYTES_MIN = 64 * KiB
export const HTTP_LEFTOVER_LOOK_MS = 10_000
/** A client that is silent for so long is asked by TCP whether it is there. */
export const TCP_KEEPALIVE_MS = 60_000
/** How long open answers may go on after a stop before their connections are cut. */
export const HTTP_STOP_GRACE_MS = 2_000
export const JSON_BODY_BYTES_MAX = 1 * MiB
export const JSON_BODY_DEADLINE_MS = 30_000
/** Each field of a form but the file. */
export const FORM_FIELD_BYTES_MAX = 1 * MiB
/** A client that sends nothing for so long, while the server waits for it, is refused. */
export const UPLOAD_IDLE_MAX_MS = 60_000
export const UPLOAD_DEADLINE_MS = 60 * 60_000
export const VALIDATION_DETAILS_MAX = 20
export const DEPLOY_BRANCHES_MAX = 50
export const HEALTH_DEADLINE_MS = 2_000
/** Longest `wait` of GET /builds/{id}. */
export const LONG_POLL_MS_MAX = 60_000
export const PAGE_ROWS_DEFAULT = 50
export const PAGE_ROWS_MAX = 200
export const REPORT_DAYS_DEFAULT = 30
export const REPORT_DAYS_MAX = 366

// Metrics
/** Gauges read from the database are at most so old. */
export const QUEUE_GAUGES_AGE_MAX_MS = 1_000
export const METRICS_COLLECT_DEADLINE_MS = 2_000
export const EVENT_LOOP_WINDOW_MS = 10_000

// Workers (on other machines)
export const WORKER_REQUEST_BYTES_MAX = 16 * KiB
export const WORKER_REQUEST_DEADLINE_MS = 30_000
/** Not seen for so long, a worker is shown no more. */
export const WORKER_FORGOTTEN_HOURS = 24
/** Of POST /admin/drain. */
export const WORKER_DRAIN_SECONDS_DEFAULT = 10 * 60
export const WORKER_RETRY_MS = 1_000
/** Below the 10 s that most supervisors give a process after SIGTERM. */
export const DRAIN_SECONDS_DEFAULT = 5

// Housekeeping
export const RECONCILE_INTERVAL_MS = 60_000
export const FINISH_RETRY_MS = 2_000
/** Tries get rarer, up to this. */
export const FINISH_RETRY_MAX_MS = 60_000
/** A registry may not know at once what it was given; one that refuses so often in a row means it. */
export const FINISH_REFUSALS_MAX = 4

// Retention. What is kept for how long is set by RETENTION_* and by each app; these are its defaults and bounds.
export const RETENTION_INTERVAL_MS = 60 * 60_000
/** After the start, so that there is time to look first. */
export const RETENTION_FIRST_DELAY_MS = 10 * 60_000
/** Rows that one statement deletes or marks. */
export const RETENTION_BATCH_ROWS = 500
/** Lines of a log that one statement deletes. */
export const RETENTION_BATCH_LINES = 5_000
/** Named in a report; all of them are counted. */
export const RETENTION_NAMED_MAX = 1_000
export const KEEP_IMAGES_DEFAULT = 30
export const KEEP_IMAGES_MAX = 10_000
export const RETENTION_DAYS_MAX = 3_650
/** Images of builds of no app. */
export const UPLOAD_IMAGE_DAYS_DEFAULT = 30
/** An image that was pulled so lately stays, whatever the policy says. */
export const IMAGE_PULLED_KEEP_HOURS = 24
/** Longer than the longest report. */
export const BUILD_DAYS_DEFAULT = 400
export const LOG_DAYS_DEFAULT = 90
/** A build that has ended needs its source no more. */
export const SOURCE_DAYS_DEFAULT = 7
/** Since its last use. */
export const CACHE_DAYS_DEFAULT = 14
/** What no row knows is left alone for so long. */
export const ORPHAN_GRACE_HOURS = 24
/** A repository's use is written down so often at most. */
export const REPOSITORY_USE_INTERVAL_MS = 60_000
/** Repositories whose last use a process remembers. */
export const REPOSITORY_USE_REMEMBERED_MAX = 10_000

// Cache of parts
/** A version of the agent or of the builder image that nobody has used for so long goes. */
export const PARTS_UNUSED_DAYS = 7
/** How often a running server says that it uses its parts. */
export const PARTS_HOLD_INTERVAL_MS = 60 * 60_000

// Registry
/** One page of a list of tags. */
export const TAGS_PAGE = 1_000
export const MANIFEST_BYTES_MAX = 4 * MiB
/** Of an image that is published under a second name. */
export const IMAGE_BLOBS_MAX = 1_000
export const IMAGE_MANIFESTS_MAX = 100
export const REGISTRY_SESSION_TTL_SECONDS = 5 * 60
export const TOKEN_SCOPES_MAX = 50
export const CATALOG_PAGE_MAX = 1_000
/** A page of referrers stays below the 4 MiB that clients read of a manifest. */
export const REFERRERS_PAGE_MAX = 100
/** Of one of them; a longer one is listed without its annotations. */
export const REFERRER_BYTES_MAX = 32 * KiB
/** Nothing moves between the proxy and the registry behind it: longer than verifying a big layer takes. */
export const REGISTRY_IDLE_MAX_MS = 300_000
/** A push or pull waits so long for a database that is away, so that builds survive its restart. */
export const REGISTRY_DATABASE_WAIT_MS = 60_000
/** On a worker of its own machine: so long for a server that is away, as it is in a restart. */
export const REGISTRY_SERVER_WAIT_MS = 60_000
export const REGISTRY_SERVER_RETRY_MS = 500
export const REGISTRY_REDIRECTS_MAX = 3
/** Of one request that brings data of a blob, from its first byte to its last, however steadily they come. */
export const REGISTRY_UPLOAD_DEADLINE_MS = 6 * 60 * 60_000
/** Requests of one token that bring data. */
export const REGISTRY_UPLOADS_AT_ONCE_MAX = 64
/** Begun with one token and not ended; one that nobody goes on with ends after REGISTRY_UPLOAD_IDLE_MS. */
export const REGISTRY_UPLOADS_OPEN_MAX = 1_000
export const REGISTRY_START_DEADLINE_MS = 15_000

// Mirrors of other registries
/** What is known of a tag for so long is not asked for again. */
export const MIRROR_TAG_TTL_MS = 60_000
export const MIRROR_TAGS_KNOWN_MAX = 10_000
export const MIRROR_BLOB_BYTES_MAX = 20 * GiB
export const MIRROR_TOKEN_BYTES_MAX = 64 * KiB
/** Of one mirrored registry, each for one repository. */
export const MIRROR_TOKENS_MAX = 1_000
/** A registry that sends nothing for so long is given up. */
export const MIRROR_IDLE_MAX_MS = 60_000
/** Different images named in the log of one build. */
export const MIRROR_IMAGES_NAMED_MAX = 100
/** Of the header that tells a worker what became of an image. */
export const MIRROR_NOTE_CHARS_MAX = 8 * KiB

// Garbage of the registry
/** From the moment a client hears that a blob is there to the manifest that names it. */
export const REGISTRY_PUSH_GRACE_MS = 6 * 60 * 60_000
/**
 * A manifest that no tag of a build or a cache names any more, after it was last asked for: longer than any
 * build that reads from it.
 */
export const REGISTRY_UNTAGGED_GRACE_MS = 8 * 60 * 60_000
/** An upload to which nobody has added anything for so long is removed. */
export const REGISTRY_UPLOAD_IDLE_MS = 24 * 60 * 60_000
/** A write waits so long at most while the garbage collection has the registry for itself. */
export const REGISTRY_WAIT_MS = 30_000
export const REGISTRY_HOLD_RETRY_SECONDS = 5
/** The garbage collection waits so long at most for the writes that are under way, and tries again later. */
export const REGISTRY_DRAIN_MS = 10_000
export const GARBAGE_HOLDS_MAX = 5
export const GARBAGE_HOLD_PAUSE_MS = 2_000
/** What is removed while writes are held; then they go on, and the next part is removed. */
export const GARBAGE_BATCH = 200
/** After the start, so that there is time to look first. */
export const GARBAGE_FIRST_DELAY_MS = 20 * 60_000
export const GARBAGE_INTERVAL_MS = 24 * 60 * 60_000
/** Between two collections that little room on the disk asks for. */
export const GARBAGE_LOW_DISK_INTERVAL_MS = 30 * 60_000

// Way out of a build (egress)
export const EGRESS_CONNECT_DEADLINE_MS = 30_000
export const EGRESS_IDLE_MAX_MS = 300_000
/** Of public addresses; EGRESS_PORTS sets others. */
export const EGRESS_PORTS_DEFAULT: readonly number[] = [80, 443]
/** Of one build, at once. */
export const EGRESS_CONNECTIONS_MAX = 256
/** Of one build, all that it asks for; each is recorded, and those beyond are refused. */
export const EGRESS_ATTEMPTS_PER_BUILD_MAX = 10_000
/** Certificates of EGRESS_CA_FILE: they go into each build's configuration. */
export const CA_FILE_BYTES_MAX = 1 * MiB
/** Different refusals and failures, in the log of one build. */
export const EGRESS_REFUSALS_NAMED_MAX = 100
/** Events of connections shown at the end of a build's log; all of them are stored. */
export const EGRESS_EVENTS_LOGGED_MAX = 100
/** Different hosts named in a summary. */
export const EGRESS_HOSTS_NAMED_MAX = 100
export const CONNECTIONS_BATCH_ROWS_MAX = 256
export const CONNECTIONS_BATCH_DELAY_MS = 250
export const CONNECTIONS_PAGE_ROWS_MAX = 1_000
/** Of the line in which the agent names the process behind a connection. */
export const EGRESS_ORIGIN_BYTES_MAX = 4 * KiB
/** Head of the answer of a firm's own proxy. */
export const OUTBOUND_REPLY_BYTES_MAX = 16 * KiB
export const EGRESS_LOOKUP_DEADLINE_MS = 10_000
/** Lookups run on the four threads that also read and write files; they may not take them all. */
export const EGRESS_LOOKUPS_MAX = 2
/** Addresses of one name that are tried before giving up. */
export const EGRESS_ADDRESSES_MAX = 4

// Pods
/** Of one guest to one service; its own tunnels make at most 128. The server's open files are everybody's. */
export const GUEST_CONNECTIONS_MAX = 256

// Pods (QEMU)
export const MKFS_DEADLINE_MS = 60_000
export const VSOCK_DEVICE_DEADLINE_MS = 10_000
export const VSOCK_POLL_MS = 50
export const VSOCK_ATTEMPT_MS = 5_000
export const POD_KILL_DEADLINE_MS = 10_000
/** What QEMU itself may need beside the guest's memory: translated code, page cache, vsock buffers. */
export const POD_OVERHEAD_MB = 768
/** Threads of QEMU (vCPUs, disk workers) and of the vsock device. */
export const POD_TASKS_MAX = 256

// Pods (bubblewrap)
export const SANDBOX_TASKS_MAX = 4_096
export const SANDBOX_OPEN_FILES_MAX = 65_536
export const SANDBOX_START_DEADLINE_MS = 20_000
export const SANDBOX_TRIAL_DEADLINE_MS = 20_000
export const AGENT_DOOR_POLL_MS = 20

/** bind() and connect() cut longer paths of unix sockets. */
export const SOCKET_PATH_BYTES_MAX = 107
