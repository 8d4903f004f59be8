// Reads multipart/form-data while it arrives: the file goes to its taker as a stream, the other fields are
// short texts. Nothing is held but these texts. What is wrong is said at once; the rest of the body is then
// read and thrown away for a while, so that a client which sends first and reads later hears why.
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy, type BusboyInstance } from '@fastify/busboy'
import type Koa from 'koa'
import { AppError, asError, invalidRequest } from '../errors.ts'
import { FORM_FIELD_BYTES_MAX, UPLOAD_DEADLINE_MS, UPLOAD_IDLE_MAX_MS } from '../limits.ts'
import type { FormSpec } from './route.ts'

export interface FormLimits {
  fieldBytesMax: number
  idleMaxMs: number
  deadlineMs: number
}

type Take = (file: Readable) => Promise<void>

export type ReadForm = (
  ctx: Koa.Context,
  spec: FormSpec,
  take: Take,
) => Promise<ReadonlyMap<string, string>>

export function createReadForm({
  fieldBytesMax = FORM_FIELD_BYTES_MAX,
  idleMaxMs = UPLOAD_IDLE_MAX_MS,
  deadlineMs = UPLOAD_DEADLINE_MS,
}: Partial<FormLimits> = {}): ReadForm {
  return (ctx, spec, take) => {
    const { req } = ctx
    const parser = createParser(req)
    const fields = new Map<string, string>()
    const accept = acceptField(spec)
    const reading = readParts(req, parser, async (name, stream) => {
      accept(name)
      if (name === spec.file) await take(stream)
      else fields.set(name, await readText(name, stream, fieldBytesMax))
    })
    limitTime(req, { idleMaxMs, deadlineMs }, (reason) => {
      if (ctx.headerSent) {
        req.destroy()
        return
      }
      ctx.set('Connection', 'close')
      reading.fail(new AppError('request_timeout', reason))
    })
    return reading.done.then(() => fields)
  }
}

function createParser(req: IncomingMessage): BusboyInstance {
  const type = req.headers['content-type'] ?? ''
  if (!/^multipart\/form-data\s*;/i.test(type)) {
    const shown = JSON.stringify(type)
    throw invalidRequest(`header content-type=${shown}: send the body as multipart/form-data`)
  }
  try {
    return new Busboy({
      headers: { ...req.headers, 'content-type': type },
      // Every field is streamed: whether one comes from a file or was typed makes no difference here.
      isPartAFile: () => true,
    })
  } catch (error) {
    throw invalidRequest(`header content-type=${JSON.stringify(type)}: ${asError(error).message}`)
  }
}

function acceptField({ fields }: FormSpec): (name: string) => void {
  const known = Object.keys(fields.shape)
  const seen = new Set<string>()
  return (name) => {
    const shown = JSON.stringify(String(name).slice(0, 100))
    if (!known.includes(name)) {
      throw invalidRequest(`field ${shown} is not known here; known are ${known.join(', ')}`)
    }
    if (seen.has(name)) throw invalidRequest(`field ${shown} is there twice`)
    seen.add(name)
  }
}

/** Parts come one after the other; `done` settles only when nobody reads any of them any more. */
function readParts(
  req: IncomingMessage,
  parser: BusboyInstance,
  read: (name: string, stream: Readable) => Promise<void>,
): { done: Promise<void>; fail: (error: Error) => void } {
  const parts: Promise<void>[] = []
  const open = new Set<Readable>()
  let failure: Error | undefined
  let fail = (_error: Error): void => {}
  const done = new Promise<void>((resolve, reject) => {
    fail = (error) => {
      if (failure) return
      failure = error
      req.unpipe(parser)
      for (const stream of open) stream.destroy(error)
      req.resume()
      void Promise.allSettled(parts).then(() => reject(error))
    }
    parser.on('file', (name, stream) => {
      stream.on('error', () => {}) // whoever reads it meets the error as well
      if (failure) {
        stream.resume()
        return
      }
      open.add(stream)
      stream.once('close', () => open.delete(stream))
      const part = read(name, stream)
      part.catch(fail)
      parts.push(part)
    })
    parser.once('finish', () => {
      Promise.all(parts).then(() => resolve(), fail)
    })
    parser.on('error', (error) => {
      const reason = asError(error).message
      fail(invalidRequest(`the body is not valid multipart/form-data: ${reason}`))
    })
    const brokeOff = (): void => {
      if (!req.complete) fail(invalidRequest('the upload broke off'))
    }
    req.once('close', brokeOff)
    if (req.destroyed) brokeOff()
    else req.pipe(parser)
  })
  return { done, fail }
}

async function readText(name: string, stream: Readable, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) {
      throw invalidRequest(`${name} exceeds the maximum size of ${bytesMax} bytes`)
    }
    chunks.push(chunk)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw invalidRequest(`${name} is not UTF-8 text`)
  }
}

/** Until the body has arrived or the connection is gone. */
function limitTime(
  req: IncomingMessage,
  { idleMaxMs, deadlineMs }: Pick<FormLimits, 'idleMaxMs' | 'deadlineMs'>,
  onLate: (reason: string) => void,
): void {
  if (req.socket.destroyed) return
  const idle = setTimeout(() => {
    // Paused: it is the server that does not keep up.
    if (req.readableFlowing === false) idle.refresh()
    else onLate(`nothing of the body came for ${idleMaxMs} ms`)
  }, idleMaxMs)
  const deadline = setTimeout(
    () => onLate(`the body did not arrive within ${deadlineMs} ms`),
    deadlineMs,
  )
  const moving = (): void => void idle.refresh()
  const over = (): void => {
    clearTimeout(idle)
    clearTimeout(deadline)
    req.off('data', moving)
    req.off('end', over)
    req.socket.off('close', over)
  }
  req.on('data', moving)
  req.on('end', over)
  // Not the request's own: it is not told when its answer was complete before the connection went.
  req.socket.on('close', over)
}
