// Lines of a stream, told apart by a key at their beginning: those that have it are asked for one by one, all
// others are passed on as they come.
import type { Readable } from 'node:stream'
import { HOOK_LINE_CHARS_MAX } from '../limits.ts'

export interface KeyedLines {
  /** The next one, without its key; undefined when the stream has ended. */
  next(): Promise<string | undefined>
}

export function readKeyedLines(
  stream: Readable,
  key: string,
  others: (text: string) => void,
): KeyedLines {
  const unread: string[] = []
  let wake = () => {}
  let rest = ''

  function take(line: string): void {
    if (line === key || line.startsWith(`${key} `)) unread.push(line.slice(key.length + 1))
    else if (line !== '') others(`${line}\n`)
  }

  stream.setEncoding('utf8').on('data', (text: string) => {
    const lines = `${rest}${text}`.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) take(line)
    if (rest.length > HOOK_LINE_CHARS_MAX) {
      take(rest)
      rest = ''
    }
    wake()
  })
  stream.once('end', () => take(rest))
  stream.once('close', () => wake())

  return {
    async next() {
      while (unread.length === 0) {
        if (stream.destroyed) return undefined
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return unread.shift()
    },
  }
}
