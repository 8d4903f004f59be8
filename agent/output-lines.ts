// From the chunks a build step prints to lines: characters split over chunks are joined, a carriage return
// overwrites what its line had so far (progress bars), an endless line is sent in pieces.
import { StringDecoder } from 'node:string_decoder'
import { LOG_LINE_CHARS_MAX } from './limits.ts'

export interface OutputLines {
  push(chunk: Buffer): void
  /** Sends what has no newline yet. */
  flush(): void
}

export function createOutputLines(emit: (line: string) => void): OutputLines {
  const decoder = new StringDecoder('utf8')
  let pending = ''

  function take(text: string): void {
    pending += text
    for (let end = pending.indexOf('\n'); end !== -1; end = pending.indexOf('\n')) {
      send(visible(pending.slice(0, end)))
      pending = pending.slice(end + 1)
    }
    // What is overwritten need not be kept; the last \r may yet turn out to be half of \r\n.
    const overwritten = pending.lastIndexOf('\r', pending.length - 2)
    if (overwritten > 0) pending = pending.slice(overwritten)
    while (pending.length > LOG_LINE_CHARS_MAX) {
      send(visible(pending.slice(0, LOG_LINE_CHARS_MAX)))
      pending = pending.slice(LOG_LINE_CHARS_MAX)
    }
  }

  function send(line: string): void {
    for (let start = 0; start < line.length || start === 0; start += LOG_LINE_CHARS_MAX) {
      emit(line.slice(start, start + LOG_LINE_CHARS_MAX))
    }
  }

  return {
    push: (chunk) => take(decoder.write(chunk)),
    flush(): void {
      take(decoder.end())
      if (pending !== '') send(visible(pending))
      pending = ''
    },
  }
}

/** What a terminal would show of a line: the text after the last carriage return that has text after it. */
function visible(line: string): string {
  const text = line.replace(/\r+$/, '')
  return text.slice(text.lastIndexOf('\r') + 1)
}
