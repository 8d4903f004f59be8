// One spelling for each host: lower case, ASCII, no trailing dot, and every way to write an IPv4 address as
// four decimal numbers. What is checked is then what is resolved. Pure.

/** Undefined: no host at all. IPv6 with or without brackets; the result has none. */
export function canonicalHost(text: string): string | undefined {
  const host = text.includes(':') && !text.startsWith('[') ? `[${text}]` : text
  const url = `http://${host}/`
  if (!URL.canParse(url)) return undefined
  const { hostname, username, port, pathname, search, hash } = new URL(url)
  const isOnlyHost = pathname === '/' && `${username}${port}${search}${hash}` === ''
  if (!isOnlyHost) return undefined
  const name = hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
  return name === '' ? undefined : name
}

/** As people and proxies read it: an IPv6 address in brackets. */
export function hostPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
