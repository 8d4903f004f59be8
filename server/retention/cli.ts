// `npm run -s retention`: asks the running server for a run of the retention, or for what one would delete.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { readSecret } from '../auth/secret.ts'
import { createTokens } from '../auth/tokens.ts'
import type { Config } from '../config.ts'
import { asError } from '../errors.ts'
import { pathsFor } from '../paths.ts'
import { renderReport } from './render.ts'
import { WireReport } from './wire-report.ts'

const TOKEN_SECONDS = 60 * 60

export async function runRetentionCommand(
  args: string[],
  config: Config,
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Promise<void> {
  const options = {
    'dry-run': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  } as const
  const { values } = parseArgs({ args, options })
  const reply = await ask(config, values['dry-run'])
  const shown = values.json ? JSON.stringify(reply, null, 2) : renderReport(reply)
  print(`${shown}\n`)
  if (reply.failures.length > 0) process.exitCode = 1
}

async function ask(config: Config, dryRun: boolean): Promise<WireReport> {
  const file = pathsFor(config.dataDir).jwtSecret
  const secret = await readSecret({ configured: config.jwtSecret, file })
  const token = await createTokens({ secret }).mintApi({
    sub: 'retention',
    permissions: ['retention:admin'],
    ttlSeconds: TOKEN_SECONDS,
  })
  const url = `${addressOf(config)}/admin/retention?dry_run=${dryRun}`
  const { status, body } = await post(url, token).catch((cause) => {
    const why = `${asError(cause).message}. Is the server running there (HOST, PORT)?`
    throw new Error(`${url} does not answer: ${why}`, { cause })
  })
  if (status === 200) return WireReport.parse(JSON.parse(body))
  throw new Error(`${url} answered ${status}: ${body}`)
}

/** A first run may take long: unlike fetch(), this waits for as long as it takes. */
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
