// What a worker and the server role say to each other over HTTP, shared by both ends. Everything else they
// know of each other is in Postgres.
import { z } from 'zod'
import { SecretId } from '../builds/request-schema.ts'

/** Counted up when one end would misunderstand the other. */
export const WORKER_PROTOCOL = 1

export const WORKER_API = '/worker'

export const WorkerId = z
  .string()
  .regex(/^[a-z0-9-]{1,64}$/, { error: 'must be 1 to 64 of a-z 0-9 -' })

/** First of all, so that both may be of any version. */
export const Hello = z.object({
  protocol: z.int(),
  version: z.string().max(64),
  worker: WorkerId,
})
export type Hello = z.infer<typeof Hello>

export const Welcome = z.object({
  /** `host:port` under which people pull. */
  registry_name: z.string().min(1),
  public_url: z.url(),
  build_timeout_seconds: z.int().min(1),
  /** Registries that are read through the server's. */
  mirror_hosts: z.array(z.string()),
})
export type Welcome = z.infer<typeof Welcome>

export const GrantRequest = z.strictObject({
  protocol: z.int(),
  worker: WorkerId,
  /** Proof of the lease, which itself stays with the worker. */
  lease_hash: z.string().regex(/^[0-9a-f]{64}$/, { error: 'must be a SHA-256 in hexadecimal' }),
})

export const GrantReply = z.object({
  registry_token: z.string().min(1),
  /** In base64. */
  secrets: z.record(SecretId, z.base64()),
  secrets_error: z.string().optional(),
})
export type GrantReply = z.infer<typeof GrantReply>
