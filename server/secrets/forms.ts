// The ways a secret may be written in a log: as it is, line by line, base64 at any alignment, URL-encoded,
// escaped for JSON. Pure: from bytes to the strings to look for.
import { SECRET_HIDDEN_CHARS_MIN } from '../limits.ts'
import { storable } from '../storable.ts'

export interface Form {
  text: string
  /** Its first and last character may belong to a base64 text that says a little more of the secret. */
  isBase64: boolean
}

/** Lines of 76 (coreutils) and 64 characters (openssl, PEM). */
const WRAPPED_BYTES = [57, 48]
/** What encoders leave as it is, beside letters and digits. */
const URL_SAFE = ["-_.!~*'()", '-_.~', '-_.~/', '-_.*']

/** Is the value long enough to be looked for? */
export function isHideable(value: Buffer): boolean {
  return value.toString('utf8').trim().length >= SECRET_HIDDEN_CHARS_MIN
}

export function formsOf(value: Buffer): Form[] {
  const plain = new Set<string>()
  const base64 = new Set<string>()
  for (const part of partsOf(value)) {
    for (const text of plainForms(part)) plain.add(storable(text))
    for (const text of base64Forms(part)) base64.add(text)
  }
  for (const text of wrappedForms(value)) base64.add(text)
  return [
    ...[...plain].map((text) => ({ text, isBase64: false })),
    ...[...base64].map((text) => ({ text, isBase64: true })),
  ].filter(({ text }) => text.length >= SECRET_HIDDEN_CHARS_MIN)
}

/** The whole value, without blanks around it, and each of its lines. */
function partsOf(value: Buffer): Buffer[] {
  // latin1 keeps one character for each byte, whatever the bytes are.
  const bytes = value.toString('latin1')
  const trim = (text: string) => text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '')
  const parts = new Set([bytes, trim(bytes), ...bytes.split('\n').map(trim)])
  return [...parts].map((part) => Buffer.from(part, 'latin1')).filter(isHideable)
}

function plainForms(part: Buffer): string[] {
  const text = part.toString('utf8')
  const json = JSON.stringify(text).slice(1, -1)
  return [text, json, asciiOnly(json), ...URL_SAFE.flatMap((safe) => urlForms(part, safe))]
}

function asciiOnly(json: string): string {
  return json.replace(
    /[^\x00-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function urlForms(part: Buffer, safe: string): string[] {
  const upper = part.toString('latin1').replace(/[^A-Za-z0-9]/g, (char) => {
    if (safe.includes(char)) return char
    return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
  })
  const lower = upper.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())
  return [upper, lower].flatMap((text) => [text, text.replaceAll('%20', '+')])
}

function base64Forms(part: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const core = base64Core(part, before)
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')]
  })
}

/** The characters that are the same whatever stands before and after: `before` bytes, modulo three. */
function base64Core(part: Buffer, before: number): string {
  const text = Buffer.concat([Buffer.alloc(before), part]).toString('base64')
  return text.slice(Math.ceil((8 * before) / 6), Math.floor((8 * (before + part.length)) / 6))
}

function wrappedForms(value: Buffer): string[] {
  return WRAPPED_BYTES.filter((width) => value.length > width).flatMap((width) => {
    const pieces: string[] = []
    for (let start = 0; start < value.length; start += width) {
      const piece = value.subarray(start, start + width)
      const core = base64Core(piece, 0)
      pieces.push(core.length >= SECRET_HIDDEN_CHARS_MIN ? core : piece.toString('base64'))
    }
    return pieces
  })
}
