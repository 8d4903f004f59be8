// Pushes as bytes, for what no real client does: odd chunks, broken bodies, leaving at the worst moment.
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { execa } from 'execa'
import { FLUSH, pkt, ZERO_OID } from '../../server/git/pkt-line.ts'
import type { Repo } from './repo.ts'

export interface Wire {
  commands: Buffer
  pack: Buffer
}

/** The body of a push that makes `ref` from the repository's HEAD. */
export async function pushBody(repo: Repo, ref = 'refs/heads/main'): Promise<Wire> {
  const head = await repo.git('rev-parse', 'HEAD')
  const capabilities = 'report-status side-band-64k agent=test'
  const commands = Buffer.concat([pkt(`${ZERO_OID} ${head} ${ref}\0 ${capabilities}`), FLUSH])
  const { stdout } = await execa('git', ['pack-objects', '--revs', '--stdout', '--quiet'], {
    cwd: repo.dir,
    input: 'HEAD\n',
    encoding: 'buffer',
  })
  return { commands, pack: Buffer.from(stdout) }
}

export interface Posted {
  req: ClientRequest
  response: Promise<IncomingMessage>
  /** Read from when it is asked for. Rejects when the connection breaks first. */
  readonly reply: Promise<{ status: number; text: string }>
}

/** A POST whose body the test writes. */
export function post(
  url: string,
  token: string | null,
  headers: Record<string, string> = {},
): Posted {
  const req = request(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-git-receive-pack-request',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
  })
  const response = once(req, 'response').then(([res]) => res as IncomingMessage)
  response.catch(() => {}) // a test that breaks the connection does not look at it
  return {
    req,
    response,
    get reply() {
      const reply = read(response)
      reply.catch(() => {})
      return reply
    },
  }
}

async function read(response: Promise<IncomingMessage>): Promise<{ status: number; text: string }> {
  const res = await response
  const chunks: Buffer[] = []
  for await (const chunk of res) chunks.push(chunk as Buffer)
  return { status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }
}
