// The build's secrets, asked of the host before anything of a tenant runs here: once, with the nonce of the
// configuration. They lie on tmpfs, for root alone, until the build is over.
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { BASE_ENV } from './children.ts'
import { hostAddress } from './host.ts'
import { SECRETS_DEADLINE_MS, SECRETS_REPLY_BYTES_MAX } from './limits.ts'
import { type BuildConfig, SECRETS_PORT, type SecretsRequest } from './protocol.ts'

/** Writes one file for each. Rejects when the host does not give every one of them: a build never goes on with fewer. */
export async function takeSecrets(
  config: Pick<BuildConfig, 'secrets' | 'secrets_nonce' | 'repo'>,
  folder: string,
  ask: (request: SecretsRequest) => Promise<string> = askHost,
): Promise<void> {
  const ids = secretIds(config)
  if (ids.length === 0) return
  const nonce = config.secrets_nonce ?? ''
  const found = valuesOf(await ask({ type: 'get_secrets', nonce, secret_ids: ids }))
  const missing = ids.filter((id) => !found.has(id))
  if (missing.length > 0) throw new Error(`the host did not give ${missing.join(', ')}`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  for (const id of ids)
    writeFileSync(`${folder}/${id}`, found.get(id)!, { mode: 0o600, flag: 'wx' })
}

/** Those of the Dockerfile, and the one that opens the repository. */
function secretIds({ secrets = [], repo }: Pick<BuildConfig, 'secrets' | 'repo'>): string[] {
  const own = repo?.secret === undefined ? [] : [repo.secret]
  return [...new Set([...secrets.map(({ id }) => id), ...own])]
}

export function removeSecrets(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

/** One line there, one line back, over socat: Node cannot open AF_VSOCK. */
function askHost(request: SecretsRequest): Promise<string> {
  const child = spawn('socat', ['-', hostAddress(SECRETS_PORT)], {
    env: BASE_ENV,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let late: NodeJS.Timeout | undefined
  return new Promise<string>((resolve, reject) => {
    late = setTimeout(
      () => reject(new Error(`the host did not answer within ${SECRETS_DEADLINE_MS / 1000} s`)),
      SECRETS_DEADLINE_MS,
    )
    const chunks: Buffer[] = []
    let bytes = 0
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > SECRETS_REPLY_BYTES_MAX) reject(new Error("the host's answer is too long"))
      if (chunk.includes(10)) resolve(Buffer.concat(chunks).toString('utf8').split('\n', 1)[0]!)
    })
    child.stdout.on('end', () => reject(new Error('the host gave no answer')))
    child.on('error', (error) => reject(new Error(`socat could not be run: ${error.message}`)))
    child.stdin.on('error', () => {}) // the end of its output says it
    child.stdin.write(`${JSON.stringify(request)}\n`)
  }).finally(() => {
    clearTimeout(late)
    child.kill('SIGKILL')
  })
}

function valuesOf(line: string): Map<string, Buffer> {
  const reply = parse(line)
  if (reply?.type !== 'secrets' || typeof reply.secrets !== 'object' || reply.secrets === null) {
    throw new Error('the host answered with something else')
  }
  const entries = Object.entries(reply.secrets)
  return new Map(entries.map(([id, base64]) => [id, Buffer.from(String(base64), 'base64')]))
}

function parse(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown> | null
  } catch {
    // Never quoted: it would be full of secrets.
    return null
  }
}
