// How a command asks the running server on this machine: as an operator, with a token of its own for the one thing.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { readSecret } from './auth/secret.ts'
import { createTokens } from './auth/tokens.ts'
import type { Config } from './config.ts'
import { asError } from './errors.ts'
import { pathsFor } from './paths.ts'

const TOKEN_SECONDS = 60 * 60

export interface Question {
  /** Path and query of what is posted. */
  path: string
  permission: string
  /** Who asks, in the log of the server. */
  who: string
}

/** The JSON of the answer. Throws an Error that says where it looked. */
export async function askServer(
  config: Config,
  { path, permission, who }: Question,
): Promise<unknown> {
  const file = pathsFor(config.dataDir).jwtSecret
  const secret = await readSecret({ configured: config.jwtSecret, file })
  const token = await createTokens({ secret }).mintApi({
    sub: who,
    permissions: [permission],
    ttlSeconds: TOKEN_SECONDS,
  })
  const url = `${addressOf(config)}${path}`
  const { status, body } = await post(url, token).catch((cause) => {
    const why = `${asError(cause).message}. Is the server running there (HOST, PORT)?`
    throw new Error(`${url} does not answer: ${why}`, { cause })
  })
  if (status === 200) return JSON.parse(body)
  const hint = status === 401 ? ' (DATA_DIR or JWT_SECRET must be those of that server)' : ''
  throw new Error(`${url} answered ${status}: ${body}${hint}`)
}

/** The answer may take long: unlike fetch(), this waits for as long as it takes. */
async function post(url: string, token: string) {
  const headers = { authorization: `Bearer ${token}` }
  const sent = request(url, { method: 'POST', headers }).end()
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  return { status: reply.statusCode ?? 0, body: await text(reply) }
}

/** The server on this machine, whatever it is called outside. */
function addressOf({ host, port }: Config): string {
  const wildcards: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  const name = wildcards[host] ?? host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}
