// What clients, scanners and bugs send, and a request that sends it as it is.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'

/** Raw path segments and query values. */
export const HOSTILE: readonly string[] = [
  ...['%00', '%ff', '%c3%28', '%2e%2e%2f', '..', '%252e', '%0d%0aX-Evil:1', '%', '%zz', "'--", '*'],
  ...['-1', '0', '1e9', '99999999999999999999', 'NaN', 'true', 'null', '[]', '{}', '__proto__'],
  ...['constructor', 'a'.repeat(3_000), '%F0%9F%A6%8A', ''],
]

export interface RawRequest {
  method: string
  /** Path and query, sent as they are. */
  path: string
  headers: Record<string, string>
  body?: string | Buffer | undefined
}

/** The answer without its body, once that is over; status 0 when the connection was cut instead. */
export async function sendRaw(
  url: string,
  { method, path, headers, body }: RawRequest,
): Promise<{ status: number; type: string | undefined }> {
  const { hostname, port } = new URL(url)
  // Said always: node does not frame the bodies of methods that seldom have one.
  const length = { 'content-length': String(Buffer.byteLength(body ?? '')) }
  // A connection of its own: one that is kept may be closed by the server just as it is used again.
  const outgoing = request({
    ...{ hostname, port, method, path, agent: false },
    headers: { ...headers, ...length },
  })
  outgoing.end(body)
  try {
    const [reply] = (await once(outgoing, 'response')) as [IncomingMessage]
    reply.on('error', () => {}) // cut within the answer; 'close' follows
    reply.resume()
    await once(reply, 'close')
    return { status: reply.statusCode ?? 0, type: reply.headers['content-type']?.split(';')[0] }
  } catch {
    return { status: 0, type: undefined }
  }
}
