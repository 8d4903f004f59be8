// The address of a repository that is to be built: one of this server's own apps, or one elsewhere that the
// build may fetch under its network policy. Whatever can be known of it is refused before anything is queued.
import { isIP } from 'node:net'
import { isBranchName } from '../apps/branch-name.ts'
import { matchesDomain } from '../egress/domains.ts'
import { canonicalHost } from '../egress/host-name.ts'
import { AppError, invalidRequest } from '../errors.ts'
import type { BuildPolicy } from './request-schema.ts'

const SHOWN_CHARS_MAX = 200
const HOSTED_PATH = /^\/(?:([A-Za-z0-9._-]+)\/)?([A-Za-z0-9._-]+?)(?:\.git)?\/?$/

export interface HostedName {
  /** Absent: the caller's. */
  tenant?: string
  name: string
}

/** Undefined: it is not this server's. Throws AppError `not_found` for what is, and can't be an app. */
export function hostedName(text: string, publicUrl: string): HostedName | undefined {
  if (!URL.canParse(text)) return undefined
  const [url, own] = [new URL(text), new URL(publicUrl)]
  const base = own.pathname.replace(/\/+$/, '')
  if (url.origin !== own.origin) return undefined
  refuseCredentials(url, text)
  const path = url.pathname.startsWith(`${base}/`) ? url.pathname.slice(base.length) : ''
  const [, tenant, name] = HOSTED_PATH.exec(path) ?? []
  if (name === undefined || url.search !== '' || url.hash !== '') {
    throw new AppError('not_found', `repo_url=${shown(text)}: there is no such app on this server`)
  }
  return { name, ...(tenant === undefined ? {} : { tenant }) }
}

/** In its one spelling. Throws AppError `invalid_request`. */
export function parseRepoUrl(text: string): string {
  const isPrintable = /^[\x21-\x7e]+$/.test(text)
  if (!isPrintable || !/^https:\/\/[^/]/i.test(text) || !URL.canParse(text)) {
    throw wrong(text, 'must be https://host/path, or an app of this server; nothing else is taken')
  }
  const url = new URL(text)
  refuseCredentials(url, text)
  const host = canonicalHost(url.hostname)
  if (host === undefined) throw wrong(text, 'its host is none')
  if (url.search !== '' || url.hash !== '') throw wrong(text, 'must have no query and no fragment')
  if (url.pathname === '/') throw wrong(text, 'must name a repository, not only a host')
  const port = url.port === '' ? '' : `:${url.port}`
  return `https://${host.includes(':') ? `[${host}]` : host}${port}${url.pathname}`
}

/** Throws AppError `invalid_request` when the policy of the build can't let it be fetched. */
export function requireReachable(repoUrl: string, policy: BuildPolicy = {}): void {
  const host = canonicalHost(new URL(repoUrl).hostname) ?? ''
  if (policy.network_mode === 'isolated') {
    const why = `an isolated build can't fetch it; send network_mode egress, with ${host} in allowed_domains`
    throw wrong(repoUrl, why)
  }
  const { allowed_domains: domains } = policy
  if (domains === undefined || (isIP(host) === 0 && matchesDomain(host, domains))) return
  throw wrong(repoUrl, `${host} is not in allowed_domains of the build`)
}

/** Branch, tag, full name or full hash; what else there may be only the repository knows. */
export function checkRepoRef(ref: string): void {
  if (ref === 'HEAD' || isBranchName(ref.replace(/^refs\//, ''))) return
  throw invalidRequest(
    `field ref=${shown(ref)}: must be the name of a branch or tag, or the full hash of a commit`,
  )
}

function refuseCredentials({ username, password }: URL, text: string): void {
  if (username === '' && password === '') return
  throw wrong(text, 'must hold no credentials: keep them as a secret, and name it as repo_secret')
}

function wrong(text: string, what: string): AppError {
  return invalidRequest(`field repo_url=${shown(text)}: ${what}`)
}

/** Without what stands before an @: it may be a password. */
export function shown(text: string): string {
  return JSON.stringify(text.replace(/^([a-z+]*:\/\/)?.*@/is, '$1***@').slice(0, SHOWN_CHARS_MAX))
}
