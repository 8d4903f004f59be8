// Whether a name is one of those a build may reach. Pure.
import { isIP } from 'node:net'
import { hostPort } from './host-name.ts'
import { EgressRefused } from './refusals.ts'

/** Exact names; `*.example.com` is every name below example.com at any depth, not example.com itself. */
export function matchesDomain(host: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern,
  )
}

/** Throws unless the policy lets the host through; an address is none of the names of a list. */
export function checkDomain(
  host: string,
  port: number,
  allowedDomains: readonly string[] | undefined,
): void {
  if (allowedDomains === undefined) return
  if (isIP(host)) {
    throw new EgressRefused(
      `${hostPort(host, port)} is an address; with allowed_domains only names are let through`,
    )
  }
  if (matchesDomain(host, allowedDomains)) return
  throw new EgressRefused(`${hostPort(host, port)} is not in allowed_domains`)
}
