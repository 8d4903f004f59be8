// A client that speaks in bytes.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { TestContext } from 'node:test'

export interface RawSocket {
  write(text: string | Buffer): void
  /** Closes the writing side; what comes is still read. */
  shut(): void
  /** Gone without a word: the other side gets a reset. */
  vanish(): void
  /** What has come so far. */
  readonly heard: string
  /** Resolves with all that came when the server has closed. */
  closed: Promise<string>
}

export async function rawSocket(t: TestContext, url: string): Promise<RawSocket> {
  const socket = connect({
    port: Number(new URL(url).port),
    host: '127.0.0.1',
    allowHalfOpen: true,
  })
  t.after(() => socket.destroy())
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard += text
  })
  // Closed by the server when it ends its side, also while ours is open.
  const closed = new Promise<string>((resolve) => {
    const end = () => resolve(heard)
    socket.once('end', end).once('close', end)
    socket.on('error', end)
  })
  await once(socket, 'connect')
  return {
    write: (text) => void socket.write(text),
    shut: () => void socket.end(),
    vanish: () => void socket.resetAndDestroy(),
    get heard() {
      return heard
    },
    closed,
  }
}
