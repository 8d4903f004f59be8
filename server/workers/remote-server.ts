// The seam from another machine: asks the server over HTTP with the worker's token. A server that is away is
// waited for; one that refuses this worker ends its work.
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { hashLease } from '../builds/store.ts'
import { AppError, asError } from '../errors.ts'
import { joinSignals } from '../join-signals.ts'
import { WORKER_REQUEST_DEADLINE_MS, WORKER_RETRY_MS } from '../limits.ts'
import type { Log } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import { type GiveGrant, NotGranted } from './link.ts'
import { GrantReply, Welcome, WORKER_API, WORKER_PROTOCOL } from './wire.ts'

export interface RemoteServerOptions {
  url: string
  token: string
  /** Name of this worker. */
  worker: string
  log: Log
  /** The server will not have this worker any more: its token has ended, or its version is another. */
  onRefused(reason: string): void
  retryMs?: number
  requestMs?: number
}

const Refusal = z.object({ code: z.string(), message: z.string() })

export function createRemoteServer(options: RemoteServerOptions) {
  const { url, token, worker, log, onRefused, retryMs = WORKER_RETRY_MS } = options
  const { requestMs = WORKER_REQUEST_DEADLINE_MS } = options

  async function ask<T>(path: string, body: unknown, schema: z.ZodType<T>, signal: AbortSignal) {
    const until = joinSignals([signal], requestMs)
    try {
      return await send(path, body, schema, until.signal)
    } finally {
      until.dispose()
    }
  }

  async function send<T>(path: string, body: unknown, schema: z.ZodType<T>, signal: AbortSignal) {
    const response = await fetch(`${url}${WORKER_API}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      redirect: 'error',
      signal,
    })
    const document: unknown = await response.json().catch(() => undefined)
    if (response.ok) return schema.parse(document)
    const refusal = Refusal.safeParse(document)
    const message = refusal.data?.message ?? `the server answered ${response.status}`
    if (response.status >= 500 || response.status === 429) throw new Error(message)
    throw new ServerRefusal(refusal.data?.code ?? String(response.status), message)
  }

  /** Until it answers; a refusal ends it. */
  async function insist<T>(path: string, body: unknown, schema: z.ZodType<T>, signal: AbortSignal) {
    for (;;) {
      try {
        return await ask(path, body, schema, signal)
      } catch (error) {
        if (error instanceof ServerRefusal) throw error
        signal.throwIfAborted()
        log.warn({ err: reasonOf(error), path }, 'the server does not answer; will retry')
        await sleep(retryMs, undefined, { signal }).catch(() => {})
        signal.throwIfAborted()
      }
    }
  }

  const grant: GiveGrant = async ({ id, leaseToken }, signal) => {
    const body = { protocol: WORKER_PROTOCOL, worker, lease_hash: hashLease(leaseToken) }
    try {
      const given = await insist(`/builds/${id}/grants`, body, GrantReply, signal)
      const secrets = Object.entries(given.secrets)
      return {
        registryToken: given.registry_token,
        secrets: new Map(secrets.map(([name, text]) => [name, Buffer.from(text, 'base64')])),
        secretsError: given.secrets_error,
      }
    } catch (error) {
      if (!(error instanceof ServerRefusal)) throw error
      if (error.code === 'conflict') throw new NotGranted('lease_lost', error.message)
      onRefused(error.message)
      throw new NotGranted('drain', error.message)
    }
  }

  return {
    grant,

    /** Throws AppError with what to do when the server refuses this worker. */
    async hello(signal: AbortSignal): Promise<Welcome> {
      const body = { protocol: WORKER_PROTOCOL, version: VERSION, worker }
      try {
        return await insist('/hello', body, Welcome, signal)
      } catch (error) {
        if (!(error instanceof ServerRefusal)) throw error
        const message = `SERVER_URL=${url} refuses this worker: ${error.message}`
        throw new AppError(error.code === 'version_skew' ? 'version_skew' : 'unauthorized', message)
      }
    },
  }
}

class ServerRefusal extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** `fetch failed` alone says nothing. */
function reasonOf(error: unknown): string {
  const { message, cause } = asError(error)
  return cause === undefined ? message : `${message}: ${asError(cause).message}`
}
