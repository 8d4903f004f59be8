// The source of a build that names a repository: one commit of it, fetched through the way out, then unpacked
// from git's own archive, so that a build sees the same as when that commit is pushed to a hosted app.
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { Transform } from 'node:stream'
import { explainFetch, FetchFailure } from './fetch-failure.ts'
import { createGit, type Git } from './git.ts'
import { FETCH_DEADLINE_SECONDS, FETCH_PACK_BYTES_MAX, FETCHED_BYTES_MAX } from './limits.ts'
import type { FetchedSource, RepoConfig } from './protocol.ts'
import { unpackSource } from './source.ts'

const FULL_HASH = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
const MiB = 1024 * 1024

export interface FetchOptions {
  repo: RepoConfig
  /** Becomes the source. */
  folder: string
  /** Private, in memory. */
  runFolder: string
  proxy: string
  caFile?: string | undefined
  /** The secret that opens the repository: `user:password`, or a password alone. */
  secretFile?: string | undefined
  log(line: string): void
  signal: AbortSignal
  limits?: Partial<typeof FETCH_LIMITS>
}

export const FETCH_LIMITS = {
  packBytesMax: FETCH_PACK_BYTES_MAX,
  sourceBytesMax: FETCHED_BYTES_MAX,
  deadlineSeconds: FETCH_DEADLINE_SECONDS,
}

/** What is asked of the remote, and the full name it has there. */
interface Wanted {
  refspec: string
  ref?: string
}

/** Rejects with FetchFailure, or with the signal's reason. */
export async function fetchSource(options: FetchOptions): Promise<FetchedSource> {
  const { repo, folder, log } = options
  const limits = { ...FETCH_LIMITS, ...options.limits }
  const clock = startClock(options.signal, limits.deadlineSeconds)
  mkdirSync(folder, { recursive: true })
  // Where there is room: beside the files to come, and gone before anybody reads them.
  const work = mkdtempSync(`${folder}/.fetch-`)
  const credentialsFile = writeCredentials(options)
  const git = createGit({
    repo: `${work}/repo.git`,
    proxy: options.proxy,
    caFile: options.caFile,
    credentialsFile,
    fileBytesMax: limits.packBytesMax,
    signal: clock.signal,
  })
  try {
    log(`-----> Fetching ${repo.url} (${repo.commit ?? repo.ref ?? 'HEAD'})`)
    await git.run(['init', '--quiet', '--bare', '--template='])
    const wanted = await find(git, repo)
    const flags = ['--quiet', '--depth=1', '--no-tags', '--no-recurse-submodules']
    await git.run(['fetch', ...flags, '--', repo.url, wanted.refspec])
    const commit = await git.run(['rev-parse', '--verify', 'FETCH_HEAD^{commit}'])
    const committedAt = Number(await git.run(['show', '--no-patch', '--format=%ct', commit]))
    log(`Fetched ${commit}${wanted.ref === undefined ? '' : ` (${wanted.ref})`}`)
    const hash = await unpack(git, commit, { ...options, bytesMax: limits.sourceBytesMax })
    return {
      commit,
      committed_at: Math.max(0, committedAt),
      hash,
      ...(wanted.ref === undefined ? {} : { ref: wanted.ref }),
    }
  } catch (error) {
    options.signal.throwIfAborted()
    throw explainFetch(isFull(work, limits.packBytesMax) ? tooMuch(limits) : error, repo)
  } finally {
    clock.stop()
    if (credentialsFile) rmSync(credentialsFile, { force: true })
    rmSync(work, { recursive: true, force: true })
  }
}

async function find(git: Git, { url, ref, commit }: RepoConfig): Promise<Wanted> {
  const name = commit ?? ref ?? 'HEAD'
  if (FULL_HASH.test(name)) return { refspec: name }
  const names = candidates(name)
  const refs = await git.run(['ls-remote', '--quiet', '--symref', '--', url, ...names])
  const lines = refs.split('\n').map((line) => line.split('\t'))
  const found = names.find((full) => lines.some(([what, of]) => of === full && isHash(what)))
  if (found === undefined) throw new FetchFailure(notFound(name, url))
  if (found !== 'HEAD') return { refspec: found, ref: found }
  const [target] = lines.find(([what, of]) => of === 'HEAD' && what?.startsWith('ref: ')) ?? []
  return { refspec: found, ...(target ? { ref: target.slice('ref: '.length) } : {}) }
}

/** A branch comes before a tag of the same name, as for hosted apps. */
function candidates(name: string): string[] {
  if (name === 'HEAD' || name.startsWith('refs/')) return [name]
  return [`refs/heads/${name}`, `refs/tags/${name}`]
}

function isHash(text = ''): boolean {
  return FULL_HASH.test(text)
}

function notFound(name: string, url: string): string {
  if (name === 'HEAD') return `${url} has no HEAD: it is empty, or its default branch is; give ref`
  const hint = /^[0-9a-f]{7,}$/.test(name) ? '; a commit is named by its full hash' : ''
  return `${url} has no branch or tag ${name}${hint}`
}

/** Whether git has died over the limit of a file: it does not say so. */
function isFull(work: string, bytesMax: number): boolean {
  const folder = `${work}/repo.git/objects/pack`
  try {
    return readdirSync(folder).some((name) => statSync(`${folder}/${name}`).size >= bytesMax)
  } catch {
    // It did not come so far.
    return false
  }
}

function tooMuch({ packBytesMax }: typeof FETCH_LIMITS): FetchFailure {
  const limit = `${Math.floor(packBytesMax / MiB)} MiB`
  return new FetchFailure(`what the repository sends is over the limit of ${limit}`)
}

interface Unpack {
  folder: string
  bytesMax: number
  log(line: string): void
}

/** Returns the hash of the archive: that of a push of the same commit. */
async function unpack(git: Git, commit: string, { folder, bytesMax, log }: Unpack) {
  const { stdout, done } = git.stream(['archive', '--format=tar', commit])
  done.catch(() => {}) // awaited below, when nothing else has failed
  const hash = createHash('sha256')
  let bytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes <= bytesMax) return next(null, chunk)
      next(new FetchFailure(`the source is over the limit of ${Math.floor(bytesMax / MiB)} MiB`))
    },
  })
  stdout.on('error', (error) => counted.destroy(error))
  await unpackSource({ input: { stream: stdout.pipe(counted) }, folder, warn: log })
  await done
  if (existsSync(`${folder}/.gitmodules`)) {
    log('warning: submodules are not fetched: their folders are empty in the build')
  }
  return `sha256:${hash.digest('hex')}`
}

/** Of use to the one host it is for. */
function writeCredentials({ repo, runFolder, secretFile }: FetchOptions): string | undefined {
  if (secretFile === undefined) return undefined
  const secret = readFileSync(secretFile, 'utf8').trim()
  const colon = secret.indexOf(':')
  const url = new URL(repo.url)
  url.username = encodeURIComponent(colon === -1 ? 'git' : secret.slice(0, colon))
  url.password = encodeURIComponent(secret.slice(colon + 1))
  url.pathname = ''
  const file = `${runFolder}/git-credentials`
  writeFileSync(file, `${url.href.replace(/\/$/, '')}\n`, { mode: 0o600 })
  return file
}

/** Counted, not timed: the clock of an emulated guest may leap by minutes. */
function startClock(signal: AbortSignal, deadlineSeconds: number) {
  const late = new AbortController()
  const onAbort = () => late.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  let seconds = 0
  const timer = setInterval(() => {
    seconds += 1
    if (seconds < deadlineSeconds) return
    late.abort(new FetchFailure(`it took longer than ${deadlineSeconds} s`))
  }, 1_000)
  return {
    signal: late.signal,
    stop(): void {
      clearInterval(timer)
      signal.removeEventListener('abort', onAbort)
      // Whatever still runs is for nobody.
      late.abort(new Error('the fetch is over'))
    },
  }
}
