// Why a build's connection did not come to be; each is one HTTP status and one sentence for the client.
import { asError } from '../errors.ts'

/** Refused by policy. */
export class EgressRefused extends Error {
  override name = 'EgressRefused'
}

/** Neither an answer nor an error in time. */
export class EgressTimeout extends Error {
  override name = 'EgressTimeout'
}

export interface Refusal {
  status: number
  reason: string
  message: string
}

export function explain(error: unknown): Refusal {
  const { message } = asError(error)
  if (error instanceof EgressRefused) {
    return { status: 403, reason: 'Forbidden', message: `refused: ${message}\n` }
  }
  if (error instanceof EgressTimeout) {
    return { status: 504, reason: 'Gateway Timeout', message: `${message}\n` }
  }
  return { status: 502, reason: 'Bad Gateway', message: `cannot reach the server: ${message}\n` }
}

/** For a connection that no HTTP response object belongs to. */
export function rawReply({ status, reason, message }: Refusal): string {
  return [
    `HTTP/1.1 ${status} ${reason}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(message)}`,
    'connection: close',
    '',
    message,
  ].join('\r\n')
}
