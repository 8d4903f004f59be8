// What a request to the proxy names as its destination. Pure.

export interface Target {
  host: string
  port: number
  /** As the Host header names it. */
  authority: string
  /** Path and query; empty for CONNECT. */
  path: string
}

/** `host:port` of a CONNECT; IPv6 in brackets. */
export function parseAuthority(text: string): Target | undefined {
  const [, host = '', port = ''] =
    /^(\[[0-9a-fA-F:.]+\]|[^[\]:/?#@\s]+):(\d{1,5})$/.exec(text) ?? []
  const number = Number(port)
  if (!host || number < 1 || number > 65_535) return undefined
  return { host: unbracket(host), port: number, authority: text, path: '' }
}

/** The absolute form of a plain request; https:// has to come by CONNECT. */
export function parseTarget(text: string): Target | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  if (url.protocol !== 'http:' || url.hostname === '') return undefined
  const port = Number(url.port || 80)
  const path = url.pathname + url.search
  return { host: unbracket(url.hostname), port, authority: url.host, path }
}

const unbracket = (host: string) => host.replace(/^\[(.*)\]$/, '$1')
