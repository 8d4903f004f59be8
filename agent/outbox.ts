// What the agent has told of the build and the host has not acknowledged yet: numbered, in order, bounded.
// It outlives the connection, so a new one goes on where the host says it is.
import { OUTBOX_BYTES_MAX } from './limits.ts'
import { type EventMessage, MESSAGE_BYTES_MAX, type NumberedMessage } from './protocol.ts'

export interface Outbox {
  /** Numbers a message and keeps it. Throws when it is too long to be sent. */
  add(message: EventMessage): void
  /** Resolves when there is room for more. */
  room(): Promise<void>
  /** Resolves when nothing is kept. */
  empty(): Promise<void>
  /** Forgets everything up to this number; false when it cannot be: never told, or forgotten already. */
  acknowledge(seq: number): boolean
  /** The line with this number, undefined when it is not there yet. */
  line(seq: number): Buffer | undefined
  readonly last: number
  readonly acknowledged: number
  /** Nobody will take anything any more: nobody waits for it either. */
  abandon(): void
}

export function createOutbox(bytesMax = OUTBOX_BYTES_MAX): Outbox {
  let kept: Buffer[] = []
  let acknowledged = 0
  let bytes = 0
  let abandoned = false
  let waiting: { until: () => boolean; resolve: () => void }[] = []

  function wake(): void {
    const done = waiting.filter(({ until }) => until())
    waiting = waiting.filter((waiter) => !done.includes(waiter))
    for (const { resolve } of done) resolve()
  }

  function wait(condition: () => boolean): Promise<void> {
    const until = () => abandoned || condition()
    if (until()) return Promise.resolve()
    return new Promise((resolve) => waiting.push({ until, resolve }))
  }

  return {
    add(message: EventMessage): void {
      if (abandoned) return
      const line = encode({ seq: acknowledged + kept.length + 1, ...message })
      if (line.length > MESSAGE_BYTES_MAX) {
        throw new Error(`a ${message.type} message of ${line.length} bytes is too long`)
      }
      kept.push(line)
      bytes += line.length
    },
    room: () => wait(() => bytes < bytesMax),
    empty: () => wait(() => kept.length === 0),
    acknowledge(seq: number): boolean {
      const count = seq - acknowledged
      if (!Number.isSafeInteger(seq) || count < 0 || count > kept.length) return false
      for (const line of kept.slice(0, count)) bytes -= line.length
      kept = kept.slice(count)
      acknowledged = seq
      wake()
      return true
    },
    line: (seq) => kept[seq - acknowledged - 1],
    get last() {
      return acknowledged + kept.length
    },
    get acknowledged() {
      return acknowledged
    },
    abandon(): void {
      abandoned = true
      kept = []
      bytes = 0
      wake()
    },
  }
}

function encode(message: NumberedMessage): Buffer {
  return Buffer.from(`${JSON.stringify(message)}\n`)
}
