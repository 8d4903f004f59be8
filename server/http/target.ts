// The target of a request, made sound before Koa sees it: Koa parses it wherever it is read and throws on a
// bad one, also where nothing can catch that (when an answer is logged).
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'

const SHOWN_CHARS_MAX = 80

export function withSoundTarget(handle: RequestListener): RequestListener {
  return (req, res) => {
    const target = originForm(req.url ?? '')
    if (target === undefined) return refuse(req, res)
    req.url = target
    handle(req, res)
  }
}

/** `/path?query`, also of `http://host/path?query` as proxies send it; undefined when it is neither. */
export function originForm(target: string): string | undefined {
  if (target.startsWith('/') || target === '*') return target
  if (!/^https?:/i.test(target) || !URL.canParse(target)) return undefined
  const { pathname, search } = new URL(target)
  return `${pathname}${search}`
}

function refuse(req: IncomingMessage, res: ServerResponse): void {
  const shown = JSON.stringify(req.url?.slice(0, SHOWN_CHARS_MAX))
  const message = `request target ${shown}: must be a path, or an http:// URL`
  res.writeHead(400, { 'Content-Type': 'application/json; charset=utf-8', Connection: 'close' })
  res.end(JSON.stringify({ code: 'invalid_request', message }))
}
