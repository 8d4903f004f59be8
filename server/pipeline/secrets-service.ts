// Port 5002 of one pod: gives the build's secrets once, to whoever knows the nonce of the agent's
// configuration, and then never again. A caller that is refused learns nothing: its connection ends.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { z } from 'zod'
import type { SecretsReply } from '../../agent/protocol.ts'
import { SecretId } from '../builds/request-schema.ts'
import {
  BUILD_SECRETS_MAX,
  SECRETS_REQUEST_BYTES_MAX,
  SECRETS_REQUEST_DEADLINE_MS,
} from '../limits.ts'
import { parseJson } from '../parse-json.ts'

export interface SecretsServiceOptions {
  nonce: string
  secrets: ReadonlyMap<string, Buffer>
  /** Told why a caller got nothing; of the first such caller only, since a guest can call for ever. */
  onRefused(reason: string): void
}

const Request = z.strictObject({
  type: z.literal('get_secrets'),
  nonce: z.string().max(256),
  secret_ids: z.array(SecretId).min(1).max(BUILD_SECRETS_MAX),
})

export function createSecretsService({ nonce, secrets, onRefused }: SecretsServiceOptions) {
  let isOpen = true
  let hasRefused = false

  /** The reply to a request, or why there is none. */
  function answer(line: Buffer): SecretsReply | string {
    if (!isOpen) return 'the secrets were given already'
    const parsed = Request.safeParse(parseJson(line))
    if (!parsed.success) return 'the request is malformed'
    if (!isSame(parsed.data.nonce, nonce)) return 'the nonce is wrong'
    const found: [string, string][] = []
    for (const id of parsed.data.secret_ids) {
      const value = secrets.get(id)
      if (value === undefined) return 'an id is not of this build'
      found.push([id, value.toString('base64')])
    }
    isOpen = false
    return { type: 'secrets', secrets: Object.fromEntries(found) }
  }

  return (socket: Socket): void => {
    socket.setTimeout(SECRETS_REQUEST_DEADLINE_MS, () => socket.destroy())
    let request = Buffer.alloc(0)
    const onData = (chunk: Buffer) => {
      request = Buffer.concat([request, chunk])
      const end = request.indexOf(10)
      if (end === -1 && request.length <= SECRETS_REQUEST_BYTES_MAX) return
      socket.off('data', onData)
      const reply = end === -1 ? 'the request is too long' : answer(request.subarray(0, end))
      if (typeof reply === 'string') {
        if (!hasRefused) onRefused(reply)
        hasRefused = true
        socket.destroy()
        return
      }
      socket.end(`${JSON.stringify(reply)}\n`)
      // What still comes is thrown away, so that the end of the connection is seen.
      socket.resume()
    }
    socket.on('data', onData)
  }
}

/** Takes the same time wherever two nonces differ, and whatever their lengths. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
