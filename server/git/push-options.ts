// What `git push -o` may say. Values are checked before anything of the push is taken in; a name that is not
// known may be meant for another remote, so it is only warned of.
import { z } from 'zod'
import { BuildArgs, BuildPolicy } from '../builds/request-schema.ts'
import { invalidRequest } from '../errors.ts'
import { sanitizeLine } from './sanitize.ts'

export interface PushOptions {
  noCache: boolean
  /** Do not follow the build. */
  detach: boolean
  /** Only how it ends. */
  quiet: boolean
  /** Build before the branch moves. */
  gate: boolean
  buildArgs: Readonly<Record<string, string>>
  timeoutSeconds: number | undefined
  /** As they were given. */
  unknown: readonly string[]
}

export const NO_OPTIONS: PushOptions = {
  noCache: false,
  detach: false,
  quiet: false,
  gate: false,
  buildArgs: {},
  timeoutSeconds: undefined,
  unknown: [],
}

const FLAGS: Readonly<Record<string, 'noCache' | 'detach' | 'quiet' | 'gate'>> = {
  'no-cache': 'noCache',
  detach: 'detach',
  quiet: 'quiet',
  gate: 'gate',
}
const KNOWN = [...Object.keys(FLAGS), 'build-arg=NAME=VALUE', 'timeout=SECONDS']
const Seconds = z
  .string()
  .regex(/^\d{1,9}$/, { error: 'must be a whole number of seconds' })
  .transform(Number)
  .pipe(BuildPolicy.shape.timeout_seconds.unwrap())

/** Throws AppError `invalid_request`. */
export function parsePushOptions(given: readonly string[]): PushOptions {
  const flags = { noCache: false, detach: false, quiet: false, gate: false }
  const buildArgs: Record<string, string> = {}
  const unknown: string[] = []
  let timeoutSeconds: number | undefined
  for (const option of given) {
    const [, name = option, value] = /^([^=]*)=(.*)$/s.exec(option) ?? []
    const flag = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined
    if (flag !== undefined) {
      // go-git puts a "=" behind every name.
      if (value) throw wrong(option, `${name} takes no value`)
      flags[flag] = true
    } else if (name === 'timeout') {
      if (timeoutSeconds !== undefined) throw wrong(option, 'timeout is given twice')
      timeoutSeconds = checked(option, Seconds, value ?? '')
    } else if (name === 'build-arg') {
      const [argument, text] = buildArg(option, value)
      if (Object.hasOwn(buildArgs, argument)) throw wrong(option, `${argument} is given twice`)
      buildArgs[argument] = text
    } else {
      unknown.push(option)
    }
  }
  return { ...flags, buildArgs, timeoutSeconds, unknown }
}

/** The arguments of a build: the app's, replaced by those of the push. Throws AppError `invalid_request`. */
export function mergeBuildArgs(
  ofApp: Readonly<Record<string, string>> | undefined,
  { buildArgs }: PushOptions,
): Record<string, string> {
  const merged = BuildArgs.safeParse({ ...ofApp, ...buildArgs })
  if (merged.success) return merged.data
  throw invalidRequest(`push options build-arg: ${reasonOf(merged.error)}`)
}

export function unknownLines({ unknown }: PushOptions): string[] {
  return unknown.map(
    (option) => `warning: push option ${show(option)} is not known; known: ${KNOWN.join(', ')}`,
  )
}

function buildArg(option: string, value: string | undefined): [string, string] {
  const [, name, text] = /^([^=]*)=(.*)$/s.exec(value ?? '') ?? []
  if (name === undefined || text === undefined) throw wrong(option, 'must be build-arg=NAME=VALUE')
  checked(option, BuildArgs, { [name]: text })
  return [name, text]
}

function checked<T>(option: string, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw wrong(option, reasonOf(parsed.error))
}

function reasonOf({ issues: [issue] }: z.ZodError): string {
  // A bad key of a record carries the reason one level down.
  const inner = issue?.code === 'invalid_key' ? issue.issues[0] : undefined
  return inner?.message ?? issue?.message ?? 'is wrong'
}

function wrong(option: string, why: string) {
  return invalidRequest(`push option ${show(option)}: ${why}`)
}

const SHOWN_CHARS_MAX = 100

/** A value may be a secret by mistake, but the person who gave it is the one who reads this. */
function show(option: string): string {
  const plain = sanitizeLine(option)
  return JSON.stringify(
    plain.length > SHOWN_CHARS_MAX ? `${plain.slice(0, SHOWN_CHARS_MAX)}…` : plain,
  )
}
