// A reader of server-sent events with as little of its own as possible: it hands over the text of each frame.
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'

export interface SseClient {
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>
  close(): void
}

export async function openSse(
  url: string,
  token: string,
  onFrame: (frame: string) => void,
): Promise<SseClient> {
  const outgoing = request(url, {
    agent: new Agent({ keepAlive: false }),
    headers: { authorization: `Bearer ${token}` },
  })
  outgoing.end()
  const [reply] = (await once(outgoing, 'response')) as [IncomingMessage]
  if (reply.statusCode !== 200) throw new Error(`${url} answered ${reply.statusCode}`)
  let pending = ''
  reply.setEncoding('utf8').on('data', (chunk: string) => {
    const frames = (pending + chunk).split('\n\n')
    pending = frames.pop() ?? ''
    for (const frame of frames) onFrame(frame)
  })
  reply.on('error', () => {}) // cut by close(), or by the server; 'close' follows
  const ended = new Promise<void>((resolve) => reply.once('close', resolve))
  return { ended, close: () => outgoing.destroy() }
}
