// One request to a registry, as far as its reply's head.
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { REGISTRY_IDLE_MAX_MS } from '../limits.ts'

/** `through`: what a streamed body passes on its way. */
export function send(
  sent: ClientRequest,
  body: Readable | Buffer | undefined,
  through?: Transform,
): Promise<IncomingMessage> {
  sent.setTimeout(REGISTRY_IDLE_MAX_MS, () =>
    sent.destroy(new Error(`nothing moved for ${REGISTRY_IDLE_MAX_MS / 1000} s`)),
  )
  const replied = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', reject) // after the reply's head its reader meets the error as well
  })
  // The registry may answer before the body is sent; then its answer counts, not the broken upload.
  if (body === undefined || Buffer.isBuffer(body)) sent.end(body)
  else {
    onConnected(sent, () => {
      if (through) pipeline(body, through, sent).catch((error) => sent.destroy(error))
      else pipeline(body, sent).catch(() => {})
    })
  }
  return replied
}

/** Nothing of a body is taken before: where nobody listens it may be sent again. */
function onConnected(sent: ClientRequest, begin: () => void): void {
  sent.once('socket', (socket) => {
    if (socket.connecting) socket.once('connect', begin)
    else begin()
  })
}
