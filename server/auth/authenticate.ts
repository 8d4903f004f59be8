// Authorization header → principal. Bearer, or Basic with the token as password (git, docker) or as user.
import { AppError } from '../errors.ts'
import type { Principal } from './principal.ts'
import type { Tokens } from './tokens.ts'

export type Authenticate = (authorization: string | undefined) => Promise<Principal>

/** Throws AppError `unauthorized`, with seed 000's sentences. */
export function createAuthenticate({
  tokens,
}: {
  tokens: Pick<Tokens, 'verifyApi'>
}): Authenticate {
  return async (authorization) => {
    if (!authorization) throw new AppError('unauthorized', 'authorization header required')
    const [token] = tokenCandidates(authorization)
    if (!token) throw new AppError('unauthorized', 'invalid authorization header format')
    return tokens.verifyApi(token)
  }
}

/** The token in a Bearer or Basic header; of Basic the password, or the user when there is no password. */
export function tokenCandidates(authorization: string): string[] {
  const [scheme = '', value = ''] = authorization.trim().split(/\s+/, 2)
  if (scheme.toLowerCase() === 'bearer') return value ? [value] : []
  if (scheme.toLowerCase() !== 'basic') return []
  const pair = Buffer.from(value, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  if (colon === -1) return []
  return [pair.slice(colon + 1), pair.slice(0, colon)].filter((part) => part !== '')
}
