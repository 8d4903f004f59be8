// Build output on its way to a terminal: one line of plain text. git hides or shows oddly what is not, and a
// build must not be able to forge lines, colours or the direction of text.
import { SIDEBAND_LINE_CHARS_MAX } from '../limits.ts'

const ESCAPE_SEQUENCES =
  // CSI (also as one C1 byte), OSC and its relatives (ended by BEL or ST), two-character escapes
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]/g
const LINE_BREAKS = /[\n\u000b\u000c\u0085\u2028\u2029]+/g
const CONTROLS = /[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
const LONE_SURROGATES = /\p{Surrogate}/gu

export function sanitizeLine(line: string): string {
  const plain = afterLastReturn(line)
    .replace(ESCAPE_SEQUENCES, '')
    .replace(LINE_BREAKS, ' ')
    .replace(CONTROLS, '')
    .replace(LONE_SURROGATES, '\ufffd')
  if (plain.length <= SIDEBAND_LINE_CHARS_MAX) return plain
  const kept = plain.slice(0, SIDEBAND_LINE_CHARS_MAX).replace(LONE_SURROGATES, '')
  return `${kept} … [${plain.length - SIDEBAND_LINE_CHARS_MAX} more characters, in the build's log]`
}

/** What a carriage return has overwritten is not shown. */
function afterLastReturn(line: string): string {
  const text = line.replace(/\r+$/, '')
  return text.slice(text.lastIndexOf('\r') + 1)
}
