// Dials a port of a guest through its hybrid vsock socket: connect, send `CONNECT <port>\n`, read
// `OK <n>\n` byte for byte, and everything after belongs to the conversation. DESIGN §4.8.
import { connect, type Socket } from 'node:net'
import { joinSignals } from '../join-signals.ts'
import { VSOCK_ATTEMPT_MS } from '../limits.ts'

/** `OK 4294967295\n` is the longest answer. */
const ANSWER_BYTES_MAX = 16
const NEWLINE = 10

/**
 * One attempt. Resolves when the other side has really answered, that is with its first byte waiting to be
 * read: the relay in the guest accepts connections before the agent does. Rejects otherwise.
 */
export async function dialGuest(path: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = connect(path)
  socket.on('error', () => {}) // 'close' follows; whoever reads sees the end
  const attempt = joinSignals([signal], VSOCK_ATTEMPT_MS)
  try {
    socket.write(`CONNECT ${port}\n`)
    await readAnswer(socket, attempt.signal)
    while (socket.readableLength === 0) await readable(socket, attempt.signal)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    attempt.dispose()
  }
}

async function readAnswer(socket: Socket, signal: AbortSignal): Promise<void> {
  let answer: Buffer = Buffer.alloc(0)
  while (true) {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) {
      await readable(socket, signal)
      continue
    }
    answer = Buffer.concat([answer, chunk])
    const end = answer.indexOf(NEWLINE)
    if (end === -1 && answer.length <= ANSWER_BYTES_MAX) continue
    const line = answer.toString('latin1', 0, end)
    if (end === -1 || !/^OK \d+$/.test(line)) {
      throw new Error(`unexpected answer of the vsock device: ${JSON.stringify(line)}`)
    }
    if (end + 1 < answer.length) socket.unshift(answer.subarray(end + 1))
    return
  }
}

/** Resolves when there is something to read; rejects when nothing will come any more. */
function readable(socket: Socket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      socket.off('readable', onReadable)
      socket.off('end', onEnd)
      socket.off('close', onEnd)
      socket.off('error', settle)
      signal.removeEventListener('abort', onAbort)
      if (error) reject(error)
      else resolve()
    }
    const onReadable = () => {
      // `readable` also announces the end of the stream.
      if (socket.readableLength > 0) settle()
    }
    const onEnd = () => settle(new Error('nobody listens on this port of the guest'))
    const onAbort = () => settle(signal.reason as Error)
    socket.on('readable', onReadable)
    socket.once('end', onEnd)
    socket.once('close', onEnd)
    socket.once('error', settle)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    else if (socket.destroyed || socket.readableEnded) onEnd()
    else onReadable()
  })
}
