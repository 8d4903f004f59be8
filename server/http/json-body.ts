// Reads a JSON body: bounded in bytes and in time, since the server itself sets no limit to the length of a
// request (a push may take long).
import { bodyParser } from '@koa/bodyparser'
import type Koa from 'koa'
import { AppError, invalidRequest } from '../errors.ts'
import { JSON_BODY_BYTES_MAX, JSON_BODY_DEADLINE_MS } from '../limits.ts'

export interface JsonBodyOptions {
  bytesMax?: number
  deadlineMs?: number
}

export type ReadJson = (ctx: Koa.Context) => Promise<unknown>

export function createReadJson({
  bytesMax = JSON_BODY_BYTES_MAX,
  deadlineMs = JSON_BODY_DEADLINE_MS,
}: JsonBodyOptions = {}): ReadJson {
  const parse = bodyParser({
    enableTypes: ['json'],
    jsonLimit: bytesMax,
    onError(error) {
      throw toAppError(error, bytesMax)
    },
  })
  return async (ctx) => {
    const type = ctx.request.get('content-type')
    const matched = ctx.is('json')
    if (matched === null || ctx.request.length === 0)
      throw invalidRequest('body is missing: send a JSON object')
    if (matched === false) {
      throw invalidRequest(
        `header content-type=${JSON.stringify(type)}: send the body as application/json`,
      )
    }
    await withinDeadline(
      parse(ctx, async () => {}),
      deadlineMs,
      () => ctx.set('Connection', 'close'),
    )
    return ctx.request.body
  }
}

function toAppError(error: Error & { status?: number; type?: string }, bytesMax: number): AppError {
  if (error.status === 413) {
    return new AppError('body_too_large', `the body is larger than ${bytesMax} bytes`)
  }
  // Without the excerpt that V8 quotes: the body may be a secret.
  const why = error.message.replace(/, \S*".*is not valid JSON$/s, '')
  return invalidRequest(`body is not valid JSON: ${why}`)
}

async function withinDeadline(
  work: Promise<unknown>,
  deadlineMs: number,
  onLate: () => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      onLate()
      reject(new AppError('request_timeout', `the body did not arrive within ${deadlineMs} ms`))
    }, deadlineMs)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    // Lost the race: its end, when the connection is cut, concerns nobody any more.
    work.catch(() => {})
  }
}
