// The order of the queue, in one place: the claim takes its first, the position counts by it.
//
// Builds above PRIORITY_MAX come first, whosever they are. The others are dealt out among the tenants: the k-th
// build of a tenant that has `running` builds comes in round `running + k`, and within a round the tenant whose
// turn is longest ago comes first. A claim adds one to the tenant's `running` and `turn` and takes one from the k of
// its other builds, so it moves nobody: the order is what will be claimed, as long as nothing ends or is added.
import { PRIORITY_MAX } from '../limits.ts'

/** Of the builds of one tenant. */
export const WITHIN_TENANT = 'priority desc, created_at, id'

/** Of `queue_tenants t`: whose first build is next. */
export const AMONG_TENANTS = 't.running, t.turn, t.waiting_since, t.tenant'

/** Of builds that come before the turns of the tenants. */
export const IS_URGENT = `priority > ${PRIORITY_MAX}`
