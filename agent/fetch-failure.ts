// Why a repository could not be fetched: git's own words, made short, and what to do about it.
import { GitError } from './git.ts'
import { ERROR_CHARS_MAX } from './limits.ts'
import type { FailureClass, RepoConfig } from './protocol.ts'

export class FetchFailure extends Error {
  override name = 'FetchFailure'
  readonly failureClass: FailureClass

  constructor(message: string, failureClass: FailureClass = 'source') {
    super(message)
    this.failureClass = failureClass
  }
}

interface Reason {
  pattern: RegExp
  /** In place of git's words. */
  says(given: Given): string
}

interface Given {
  repo: RepoConfig
  host: string
  words: string
}

const REASONS: readonly Reason[] = [
  {
    pattern: /HTTP code 403 from proxy|CONNECT tunnel failed, response 403/,
    says: ({ host }) =>
      `the network policy of this build does not let it reach ${host} or where ${host} redirects`,
  },
  {
    pattern: /HTTP code 50[234] from proxy|CONNECT tunnel failed, response 50[234]/,
    says: ({ host }) => `${host} could not be reached`,
  },
  {
    pattern: /terminal prompts disabled|could not read (?:Username|Password)/,
    says: () => 'not found there, or it needs credentials: name their secret as repo_secret',
  },
  {
    pattern: /Authentication failed|returned error: 40[13]/,
    says: ({ repo, words }) =>
      repo.secret === undefined ? words : `the credentials of secret ${repo.secret} are refused`,
  },
  {
    pattern: /repository '.*' not found|returned error: 404/,
    says: () => 'there is no repository, or it may not be seen without credentials (repo_secret)',
  },
  {
    pattern: /certificate (?:verification failed|problem)|unknown CA/i,
    says: ({ words }) => `${words}; an operator can add certificates with EGRESS_CA_FILE`,
  },
  {
    pattern: /Operation too slow|timed out/i,
    says: ({ words }) => `it stood still: ${words}`,
  },
  {
    pattern: /not our ref|couldn't find remote ref|unadvertised object/,
    says: ({ repo }) => `the repository gives no ${repo.commit ?? repo.ref ?? 'HEAD'}`,
  },
]

export function explainFetch(error: unknown, repo: RepoConfig): FetchFailure {
  const say = (why: string) => `the source could not be fetched from ${repo.url}: ${why}`
  if (error instanceof FetchFailure) return new FetchFailure(say(error.message), error.failureClass)
  if (!(error instanceof GitError)) {
    const { code, message } = error as NodeJS.ErrnoException
    return new FetchFailure(say(message), code === 'ENOSPC' ? 'disk' : 'source')
  }
  if (error.isMissing) {
    return new FetchFailure(say('there is no git in the builder image'), 'infra')
  }
  if (/No space left on device|Disk quota exceeded/i.test(error.stderr)) {
    return new FetchFailure(say("the build's disk is full"), 'disk')
  }
  const words = wordsOf(error.stderr)
  const reason = REASONS.find(({ pattern }) => pattern.test(error.stderr))
  const { host } = new URL(repo.url)
  return new FetchFailure(say(reason?.says({ repo, host, words }) ?? words))
}

/** Its last complaint, on one line; the remote's own lines may say anything, so nothing of them is shown raw. */
function wordsOf(stderr: string): string {
  const lines = stderr
    .replaceAll(/[^\P{Cc}\n]/gu, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const fatal = lines.findLast((line) => /^(?:fatal|error): /.test(line)) ?? lines.at(-1)
  return (fatal ?? 'git said nothing').replace(/^(?:fatal|error): /, '').slice(0, ERROR_CHARS_MAX)
}
