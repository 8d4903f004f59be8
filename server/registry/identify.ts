// Which of the presented words is a token, and who is behind it: nobody, when the token's build is over. Only
// "this is no such token" moves on to the next guess; a database that does not answer is not a wrong token.
import type { Tokens } from '../auth/tokens.ts'
import { AppError } from '../errors.ts'
import type { Caller, Grants } from './grants.ts'

/** undefined = nobody. */
export type Identify = (candidates: readonly string[]) => Promise<Caller | undefined>

export interface IdentifyOptions {
  tokens: Pick<Tokens, 'verifyApi' | 'verifyRegistry'>
  grants: Pick<Grants, 'isLive'>
}

export function createIdentify({ tokens, grants }: IdentifyOptions): Identify {
  const kinds: ((token: string) => Promise<Caller>)[] = [
    async (token) => ({ kind: 'grant', grant: await tokens.verifyRegistry(token) }),
    async (token) => ({ kind: 'user', principal: await tokens.verifyApi(token) }),
  ]
  return async (candidates) => {
    for (const token of candidates) {
      for (const verify of kinds) {
        try {
          const caller = await verify(token)
          if (await grants.isLive(caller)) return caller
        } catch (error) {
          if (!(error instanceof AppError) || error.code !== 'unauthorized') throw error
        }
      }
    }
    return undefined
  }
}
