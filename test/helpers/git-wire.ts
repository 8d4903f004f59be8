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
  /** Rejects when the connection breaks first. */
  reply: Promise<{ status: number; text: string }>
  response: Promise<IncomingMessage>
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
  const reply = response.then(async (res) => {
    const chunks: Buffer[] = []
    for await (const chunk of res) chunks.push(chunk as Buffer)
    return { status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }
  })
  reply.catch(() => {}) // a test that breaks the connection does not look at it
  return { req, reply, response }
}
