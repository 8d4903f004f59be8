// Who is asking: made from a verified API token, passed to services, never stored.

export interface Principal {
  /** The token's `sub`. */
  user: string
  tenant: string
  admin: boolean
  /** Explicit permissions, or undefined: everything except `*:admin`. */
  permissions: ReadonlySet<string> | undefined
  /** Token id, for revocation and audit. */
  jti: string
}

/** `build:read`, `app:write`, …; `*` grants everything; `*:admin` needs the admin flag or its own entry. */
export function may(principal: Principal, permission: string): boolean {
  if (permission.endsWith(':admin') && !principal.admin) {
    return principal.permissions?.has(permission) ?? false
  }
  if (principal.permissions === undefined) return true
  return principal.permissions.has('*') || principal.permissions.has(permission)
}
