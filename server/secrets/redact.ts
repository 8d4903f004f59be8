// Hides the secrets of one build in whatever text is kept of it. What comes out holds none of the forms,
// overlapping ones included; a secret that is split over two lines is not found.
import { REDACTION_COMPARED_CHARS_MAX, SECRET_HIDDEN_CHARS_MIN } from '../limits.ts'
import { storable } from '../storable.ts'
import { type Form, formsOf } from './forms.ts'

export const HIDDEN = '***'

const BASE64 = /[A-Za-z0-9+/_-]/

export interface Redactor {
  /** From here on these values are hidden too. */
  learn(values: Iterable<Buffer>): void
  /** The text as it may be kept, without what PostgreSQL does not take: that may stand inside a secret. */
  text(text: string): string
}

export function createRedactor(): Redactor {
  const byStart = new Map<string, Form[]>()
  /** One bit of knowledge for the first two characters: most places of a text end here. */
  const begins = new Uint8Array(65_536)

  function learn(values: Iterable<Buffer>): void {
    for (const value of values) {
      for (const form of formsOf(value)) {
        const start = form.text.slice(0, SECRET_HIDDEN_CHARS_MIN)
        const known = byStart.get(start)
        if (known) known.push(form)
        else byStart.set(start, [form])
        begins[twoAt(start, 0)] = 1
      }
    }
  }

  /** One round: every place that is part of a form becomes HIDDEN. Undefined when it would take too long. */
  function hide(text: string, work: { compared: number }): string | undefined {
    let shown = ''
    let copied = 0
    let [start, end] = [-1, -1]
    const put = () => {
      shown += text.slice(copied, start) + HIDDEN
      copied = end
    }
    for (let at = 0; at + SECRET_HIDDEN_CHARS_MIN <= text.length; at += 1) {
      if (begins[twoAt(text, at)] === 0) continue
      for (const form of byStart.get(text.slice(at, at + SECRET_HIDDEN_CHARS_MIN)) ?? []) {
        work.compared += form.text.length
        if (work.compared > REDACTION_COMPARED_CHARS_MAX) return undefined
        if (!text.startsWith(form.text, at)) continue
        const [from, to] = reach(text, at, form)
        if (start !== -1 && from > end) put()
        if (start === -1 || from > end) start = from
        end = Math.max(end, to)
      }
    }
    if (start === -1) return text
    put()
    return shown + text.slice(copied)
  }

  return {
    learn,
    text(text) {
      const kept = storable(text)
      if (byStart.size === 0) return kept
      const work = { compared: 0 }
      // What is hidden becomes shorter, so this ends; what is left may only now stand side by side.
      for (let before = kept; ; ) {
        const after = hide(before, work)
        if (after === undefined) return HIDDEN
        if (after === before) return after
        before = after
        work.compared += before.length
      }
    },
  }
}

function twoAt(text: string, at: number): number {
  return ((text.charCodeAt(at) << 8) ^ text.charCodeAt(at + 1)) & 0xffff
}

/** Where the form begins and ends; of base64 also the characters at its edges that hold a few of its bits. */
function reach(text: string, at: number, form: Form): [number, number] {
  let from = at
  let to = at + form.text.length
  if (!form.isBase64) return [from, to]
  if (from > 0 && BASE64.test(text[from - 1]!)) from -= 1
  if (to < text.length && BASE64.test(text[to]!)) to += 1
  while (text[to] === '=') to += 1
  return [from, to]
}
