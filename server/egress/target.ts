// What a request to the proxy names as its destination. Pure.
import { canonicalHost } from './host-name.ts'

export interface Target {
  /** In its one spelling. */
  host: string
  port: number
  /** As the Host header names it. */
  authority: string
  /** Path and query; empty for CONNECT. */
  path: string
}

/** `host:port` of a CONNECT; IPv6 in brackets. */
export function parseAuthority(text: string): Target | undefined {
  const [, named = '', port = ''] =
    /^(\[[0-9a-fA-F:.]+\]|[^[\]:/?#@\s]+):(\d{1,5})$/.exec(text) ?? []
  const number = Number(port)
  const host = canonicalHost(named)
  if (!host || number < 1 || number > 65_535) return undefined
  return { host, port: number, authority: text, path: '' }
}

/** The absolute form of a plain request; https:// has to come by CONNECT. */
export function parseTarget(text: string): Target | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  const host = canonicalHost(url.hostname)
  if (url.protocol !== 'http:' || !host) return undefined
  const port = Number(url.port || 80)
  const path = url.pathname + url.search
  return { host, port, authority: url.host, path }
}
