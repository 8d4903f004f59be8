// Which registries the operator mirrors, from REGISTRY_MIRRORS and what goes with it: where each really is,
// what of it may be read, and with which credentials.
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { asError } from '../errors.ts'

/** `docker.io`, or `ghcr.io=https://ghcr.example`. */
export interface MirrorName {
  host: string
  /** Undefined: where a registry of that name is. */
  url: string | undefined
}

export interface MirrorSource {
  host: string
  url: URL
  /** The operator has given the address himself, so it may be a private one. */
  isGiven: boolean
  /** Undefined: all of it. */
  repositories: readonly string[] | undefined
  /** `user:password` */
  credentials: string | undefined
}

/** A repository name can begin with it, so it has no port. */
const HOST = /^[a-z0-9]+(?:[.-][a-z0-9]+)*$/
const PATTERN = /^[a-z0-9][a-z0-9.-]*\/(?:\*|[a-z0-9][a-z0-9._/-]*?(?:\/\*)?)$/
const DOCKER_HUB = 'https://registry-1.docker.io'

/** Throws a sentence. */
export function parseMirrors(text: string): MirrorName[] {
  const names = listOf(text).map((entry) => {
    const [host = '', ...rest] = entry.split('=')
    const url = rest.length > 0 ? rest.join('=') : undefined
    if (!HOST.test(host)) throw new Error(`${JSON.stringify(host)} is no host name without port`)
    if (url !== undefined && !isRegistryUrl(url)) {
      throw new Error(`${host} must be followed by =https://host[:port], without credentials`)
    }
    return { host, url }
  })
  const twice = names.find(({ host }, n) => names.findIndex((each) => each.host === host) !== n)
  if (twice) throw new Error(`${twice.host} is named twice`)
  return names
}

/** `docker.io/library/*`; throws a sentence. */
export function parsePatterns(text: string): string[] {
  const patterns = listOf(text)
  const wrong = patterns.find((pattern) => !PATTERN.test(pattern))
  if (wrong === undefined) return patterns
  throw new Error(`${JSON.stringify(wrong)} is neither host/repository nor host/folder/*`)
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
}

function isRegistryUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, pathname, search, hash } = new URL(text)
  const isPlain = username === '' && password === '' && pathname === '/' && search + hash === ''
  return isPlain && (protocol === 'https:' || protocol === 'http:')
}

export interface SourcesOptions {
  names: readonly MirrorName[]
  patterns: readonly string[]
  /** As `docker login` writes it. */
  authFile: string | undefined
}

/** Throws a sentence when the parts do not go together; none of them quotes a credential. */
export async function readSources(options: SourcesOptions): Promise<MirrorSource[]> {
  const { names, patterns, authFile } = options
  const auths = authFile === undefined ? new Map<string, string>() : await readAuths(authFile)
  const sources = names.map(({ host, url }) => {
    const own = patterns.filter((pattern) => pattern.startsWith(`${host}/`))
    const credentials = auths.get(host)
    if (credentials !== undefined && own.length === 0) {
      throw new Error(
        `REGISTRY_MIRROR_REPOSITORIES must name what of ${host} is for all tenants (${host}/* is everything): REGISTRY_MIRROR_AUTH_FILE has credentials for it`,
      )
    }
    return {
      host,
      url: new URL(url ?? (host === 'docker.io' ? DOCKER_HUB : `https://${host}`)),
      isGiven: url !== undefined,
      repositories:
        own.length > 0 ? own.map((pattern) => pattern.slice(host.length + 1)) : undefined,
      credentials,
    }
  })
  const lost = patterns.find((pattern) => !names.some(({ host }) => pattern.startsWith(`${host}/`)))
  if (lost === undefined) return sources
  throw new Error(`REGISTRY_MIRROR_REPOSITORIES has ${lost}, which is not in REGISTRY_MIRRORS`)
}

export function isMirrored({ repositories }: MirrorSource, name: string): boolean {
  if (repositories === undefined) return true
  return repositories.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  )
}

const AuthFile = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string().optional() })).default({}),
})

async function readAuths(file: string): Promise<Map<string, string>> {
  let content: z.infer<typeof AuthFile>
  try {
    content = AuthFile.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (error) {
    // A parser's message may quote what it could not read.
    const code = (error as NodeJS.ErrnoException).code ?? asError(error).name
    throw new Error(`REGISTRY_MIRROR_AUTH_FILE=${file} is no auth file of docker login (${code})`)
  }
  const known = new Map<string, string>()
  for (const [name, { auth }] of Object.entries(content.auths)) {
    const host = name.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
    const pair = Buffer.from(auth ?? '', 'base64').toString('utf8')
    if (pair.includes(':')) known.set(host === 'index.docker.io' ? 'docker.io' : host, pair)
  }
  return known
}
