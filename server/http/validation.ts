// Input against its zod schema; what is wrong becomes one AppError that names each field and its value.
// It answers the caller's own input back to the caller and must never be logged: a value may be a secret. Input
// of a writeOnly schema is one, and is not answered either.
import type { z } from 'zod'
import { AppError, type ErrorDetail, invalidRequest } from '../errors.ts'
import { VALIDATION_DETAILS_MAX } from '../limits.ts'
import { sentence } from './sentences.ts'

const SHOWN_VALUE_CHARS_MAX = 80

export function validate<T>(
  schema: z.ZodType<T>,
  input: unknown,
  where: 'query' | 'body' | 'field',
): T {
  refusePrototype(input, where)
  const parsed = schema.safeParse(input, { error: sentence })
  const source = { where, input, isSecret: schema.meta()?.writeOnly === true }
  if (!parsed.success) throw invalid(parsed.error, source)
  refuseUnstorable(parsed.data, where, [])
  return parsed.data
}

// zod leaves this name out of records without a word, so a tag or a filter would be lost.
function refusePrototype(input: unknown, where: string): void {
  if (typeof input !== 'object' || input === null) return
  for (const [name, value] of [['', input] as const, ...Object.entries(input)]) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, '__proto__')) continue
    const path = name === '' ? '__proto__' : `${name}.__proto__`
    throw invalidRequest(`${where} ${path}: is not taken as a name; use another one`)
  }
}

// PostgreSQL holds neither NUL nor half a surrogate pair, and no command line or environment does.
function refuseUnstorable(value: unknown, where: string, path: readonly string[]): void {
  if (typeof value === 'string' && UNSTORABLE.test(value)) {
    throw invalidRequest(`${where} ${path.join('.')}: holds a NUL or half a character`)
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    refuseUnstorable(key, where, [...path, JSON.stringify(key)])
    refuseUnstorable(inner, where, [...path, key])
  }
}

const UNSTORABLE = /[\u0000\p{Surrogate}]/u

interface Source {
  where: string
  input: unknown
  /** Nothing of the input may be quoted. */
  isSecret: boolean
}

function invalid(error: z.ZodError, source: Source): AppError {
  const details = error.issues
    .flatMap((issue) => describe(issue, source))
    .slice(0, VALIDATION_DETAILS_MAX)
  const [first] = details
  const more = details.length > 1 ? ` (and ${details.length - 1} more)` : ''
  return new AppError(
    'invalid_request',
    `${first?.message ?? `${source.where} is not valid`}${more}`,
    {
      details,
    },
  )
}

function describe(issue: z.core.$ZodIssue, source: Source): ErrorDetail[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      code: issue.code,
      message: `${named([...issue.path, key], source)}: is not known here`,
    }))
  }
  // A bad key of a record carries the reason one level down.
  const inner = issue.code === 'invalid_key' ? issue.issues[0] : undefined
  const message = inner?.message ?? issue.message
  return [{ code: issue.code, message: `${named(issue.path, source)}: ${message}` }]
}

/** `query limit="500"`, `body policy.cpus=99`, `body name is missing`. */
function named(path: readonly PropertyKey[], { where, input, isSecret }: Source): string {
  const field = [where, path.map(shownKey).join('.')].filter((part) => part !== '').join(' ')
  const value = valueAt(input, path)
  if (value === undefined) return `${field} is missing`
  if (isSecret) return field
  const text = JSON.stringify(value) ?? typeof value
  const shown =
    text.length > SHOWN_VALUE_CHARS_MAX ? `${text.slice(0, SHOWN_VALUE_CHARS_MAX)}…` : text
  return `${field}=${shown}`
}

/** Keys are the caller's too: one with control characters or spaces stands in quotes, escaped. */
function shownKey(key: PropertyKey): string {
  const text = String(key)
  return /^[^\p{C}\p{Z}]*$/u.test(text) ? text : JSON.stringify(text)
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value
}
