// Who is asking: made from a verified API token, passed to services, never stored.

export interface Principal {
  /** The token's `sub`. */
  user: string
  tenant: string
  admin: boolean
  /** Explicit permissions, or undefined: everything except what is the operator's. */
  permissions: ReadonlySet<string> | undefined
  /** Token id, for revocation and audit. */
  jti: string
}

/**
 * `build:read`, `app:write`, …; `*` grants everything but what is the operator's: that (`*:admin`, `metrics:*`)
 * needs the admin flag or its own entry.
 */
export function may(principal: Principal, permission: string): boolean {
  if (isOperators(permission) && !principal.admin) {
    return principal.permissions?.has(permission) ?? false
  }
  if (principal.permissions === undefined) return true
  return principal.permissions.has('*') || principal.permissions.has(permission)
}

/** Metrics are of the whole installation, not of a tenant. */
function isOperators(permission: string): boolean {
  return permission.endsWith(':admin') || permission.startsWith('metrics:')
}
