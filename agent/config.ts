// The build's configuration: JSON on a raw device, padded with NUL. Parsed with care although the host wrote
// it: a value of a shape this agent does not know must be a clear failure, not a half-understood build.
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { CONFIG_BYTES_MAX } from './limits.ts'
import type { BuildConfig } from './protocol.ts'

const READ_BYTES = 64 * 1024
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
/** One path segment of a repository; no comma can come through, `--output` is CSV. */
const REPOSITORY = /^[a-z0-9]+(?:[._-][a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-][a-z0-9]+)*)*$/
const SECRET_ID = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/
const REGISTRY = /^[A-Za-z0-9.-]+(?::\d{1,5})?$|^\[[0-9a-fA-F:]+\](?::\d{1,5})?$/
const REPO_URL = /^https:\/\/[^\s@\u0000-\u001f\u007f]+$/
const REF = /^(?!-)[^\s:*?[\\^~\u0000-\u001f\u007f]+$/
const RELATIVE_PATH = /^(?!\/)(?!.*(?:^|\/)\.\.(?:\/|$))[^\u0000-\u001f\u007f]+$/

export function readConfigDevice(device: string): string {
  const fd = openSync(device, 'r')
  try {
    const chunks: Buffer[] = []
    for (let total = 0; total < CONFIG_BYTES_MAX; ) {
      const buffer = Buffer.alloc(READ_BYTES)
      const bytes = readSync(fd, buffer)
      const end = buffer.subarray(0, bytes).indexOf(0)
      chunks.push(buffer.subarray(0, end === -1 ? bytes : end))
      total += bytes
      if (bytes === 0 || end !== -1) break
    }
    return Buffer.concat(chunks).toString('utf8')
  } finally {
    closeSync(fd)
  }
}

/** Makes /config/build.json, on tmpfs, readable by root alone; then nothing can write there any more. */
export function publishConfig(folder: string, text: string): void {
  writeFileSync(`${folder}/build.json`, text, { mode: 0o400 })
  const done = spawnSync('busybox', ['mount', '-o', 'remount,bind,ro', folder], {
    encoding: 'utf8',
  })
  if (done.status !== 0) throw new Error(`cannot make ${folder} read-only: ${done.stderr}`)
}

export function parseConfig(text: string): BuildConfig {
  const value = parseJson(text)
  const check = checks(value)
  check.matches('job_id', /^[a-z0-9-]{1,64}$/)
  check.matches('channel_key', /^[A-Za-z0-9_-]{32,128}$/)
  check.matches('registry_url', REGISTRY)
  check.matches('registry_public_name', REGISTRY)
  check.matches('image_repository', REPOSITORY)
  check.matches('source_path', /^\/[^\u0000-\u001f,]*$/)
  check.matches('source_hash', /^[0-9a-z:]{1,128}$/)
  check.optional('dockerfile', 'string')
  check.optional('dockerfile_path', 'string', RELATIVE_PATH)
  check.optional('target', 'string', /^[A-Za-z0-9][A-Za-z0-9_.-]*$/)
  check.optional('base_image_digest', 'string', /^sha256:[0-9a-f]{64}$/)
  check.optional('platform', 'string', /^[a-z0-9]+\/[a-z0-9]+(?:\/[a-z0-9]+)?$/)
  check.optional('registry_token', 'string', /^[\x21-\x7e]+$/)
  check.optional('no_cache', 'boolean')
  check.optional('source_date_epoch', 'number')
  check.list('cache_imports', isRepository)
  check.list('registry_mirrors', isHost)
  check.optional('cache_export', 'string', REPOSITORY)
  check.optional('cache_export_seconds', 'number')
  checkAttestations(value.attestations, check.fail)
  check.list('secrets', isGivenSecret)
  if (value.repo !== undefined) checkRepo(value, check.fail)
  check.list('submodules', isSubmodule)
  if (value.submodules !== undefined && value.network_mode !== 'egress') check.fail('network_mode')
  check.optional('ca_certificates', 'string')
  const isGiven = value.secrets !== undefined || hasRepoSecret(value)
  if (isGiven) check.matches('secrets_nonce', /^[\x21-\x7e]{32,128}$/)
  check.strings('build_args', (name) => NAME.test(name) && !name.startsWith('BUILDKIT_'))
  check.strings('labels', (name) => /^[A-Za-z0-9._/-]+$/.test(name))
  if (value.cache_disk !== undefined && !isCacheDisk(value.cache_disk)) check.fail('cache_disk')
  if (typeof value.timeout_seconds !== 'number') check.fail('timeout_seconds')
  if (value.network_mode !== 'isolated' && value.network_mode !== 'egress') {
    check.fail('network_mode')
  }
  return value as unknown as BuildConfig
}

/** What becomes an argument of git, or the name of a file. */
function checkRepo(
  { repo, network_mode: mode }: Record<string, unknown>,
  fail: (field: string) => never,
): void {
  const { url, ref, commit, secret } = Object(repo) as Record<string, unknown>
  const isText = (value: unknown, pattern: RegExp) =>
    typeof value === 'string' && pattern.test(value)
  if (!isText(url, REPO_URL)) fail('repo.url')
  if (ref !== undefined && !isText(ref, REF)) fail('repo.ref')
  if (commit !== undefined && !isText(commit, /^[0-9a-f]{40,64}$/)) fail('repo.commit')
  if (secret !== undefined && !isText(secret, SECRET_ID)) fail('repo.secret')
  // There is no other way to it.
  if (mode !== 'egress') fail('network_mode')
}

function isSubmodule(entry: unknown): boolean {
  const { path, url, commit } = Object(entry) as Record<string, unknown>
  if (typeof path !== 'string' || path === '' || path.includes('\0')) return false
  if (path.startsWith('/') || path.split('/').includes('..')) return false
  return REPO_URL.test(String(url)) && /^[0-9a-f]{40,64}$/.test(String(commit))
}

function hasRepoSecret({ repo }: Record<string, unknown>): boolean {
  return (Object(repo) as Record<string, unknown>).secret !== undefined
}

function isCacheDisk(entry: unknown): boolean {
  if (typeof entry !== 'object' || entry === null) return false
  const { max_used_mb: used, keep_hours: keep, save } = entry as Record<string, unknown>
  return Number.isInteger(used) && Number.isInteger(keep) && typeof save === 'boolean'
}

function isHost(entry: unknown): boolean {
  return typeof entry === 'string' && REGISTRY.test(entry)
}

function isRepository(entry: unknown): boolean {
  return typeof entry === 'string' && REPOSITORY.test(entry)
}

function checkAttestations(value: unknown, fail: (field: string) => never): void {
  if (value === undefined) return
  const { provenance, sbom } = Object(value) as Record<string, unknown>
  if (provenance !== undefined && !/^(?:min|max|off)$/.test(String(provenance))) {
    fail('attestations.provenance')
  }
  if (sbom !== undefined && typeof sbom !== 'boolean') fail('attestations.sbom')
}

/** Ids become file names and part of `--secret`, which is CSV. */
function isGivenSecret(entry: unknown): boolean {
  if (typeof entry !== 'object' || entry === null) return false
  const { id, env_var: name } = entry as Record<string, unknown>
  const isName = name === undefined || (typeof name === 'string' && NAME.test(name))
  return typeof id === 'string' && SECRET_ID.test(id) && isName
}

function parseJson(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The text holds a token, so it is never quoted.
    throw new Error('build.json is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('build.json is not an object')
  }
  return value as Record<string, unknown>
}

function checks(value: Record<string, unknown>) {
  const fail = (field: string): never => {
    throw new Error(`build.json: field ${field} is missing or not of the expected shape`)
  }
  return {
    fail,
    matches(field: string, pattern: RegExp): void {
      const found = value[field]
      if (typeof found !== 'string' || !pattern.test(found)) fail(field)
    },
    optional(field: string, type: 'string' | 'number' | 'boolean', pattern?: RegExp): void {
      const found = value[field]
      if (found === undefined) return
      if (typeof found !== type) fail(field)
      if (pattern && !pattern.test(String(found))) fail(field)
    },
    list(field: string, isEntry: (entry: unknown) => boolean): void {
      const found = value[field]
      if (found === undefined) return
      if (!Array.isArray(found) || !found.every(isEntry)) fail(field)
    },
    strings(field: string, isName: (name: string) => boolean): void {
      const found = value[field]
      if (found === undefined) return
      if (typeof found !== 'object' || found === null || Array.isArray(found)) fail(field)
      for (const [name, text] of Object.entries(found as object)) {
        if (!isName(name) || typeof text !== 'string' || text.includes('\0')) {
          fail(`${field}.${name.slice(0, 100)}`)
        }
      }
    },
  }
}
