// Which of the presented words is a token, and who is behind it. Only "this is no such token" moves on to
// the next guess; a database that does not answer is not a wrong token.
import type { Tokens } from '../auth/tokens.ts'
import { AppError } from '../errors.ts'
import type { Caller } from './grants.ts'

export interface Identified {
  caller: Caller
  /** The candidate that was the token. */
  token: string
}

/** undefined = nobody. */
export type Identify = (candidates: readonly string[]) => Promise<Identified | undefined>

export function createIdentify({
  tokens,
}: {
  tokens: Pick<Tokens, 'verifyApi' | 'verifyRegistry'>
}): Identify {
  const kinds: ((token: string) => Promise<Caller>)[] = [
    async (token) => ({ kind: 'grant', grant: await tokens.verifyRegistry(token) }),
    async (token) => ({ kind: 'user', principal: await tokens.verifyApi(token) }),
  ]
  return async (candidates) => {
    for (const token of candidates) {
      for (const verify of kinds) {
        try {
          return { caller: await verify(token), token }
        } catch (error) {
          if (!(error instanceof AppError) || error.code !== 'unauthorized') throw error
        }
      }
    }
    return undefined
  }
}
