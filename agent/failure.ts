// Why a build failed: one class and one sentence, from what buildctl said and what the guest knows. The class
// decides who must act: the author of the Dockerfile, or the operator.
import type { FailedVertex } from './facts.ts'
import { fullBuildDisk } from './full-disk.ts'
import { ERROR_CHARS_MAX } from './limits.ts'
import { shortName } from './progress.ts'
import type { BuildConfig, FailedStep, FailureClass } from './protocol.ts'

export interface FailureFacts {
  config: Pick<
    BuildConfig,
    'registry_url' | 'registry_public_name' | 'registry_mirrors' | 'network_mode' | 'cache_disk'
  >
  exitCode: number | null
  /** buildctl's last `error: …` line, or empty. */
  error: string
  failed: FailedVertex | undefined
  /** Processes of build steps that the kernel killed for memory. */
  oomKills: number
  buildkitdAlive: boolean
}

export interface Failure {
  failure_class: FailureClass
  error: string
  failed_step?: FailedStep
}

const PROCESS_FAILED = /^process ".*" did not complete successfully: (?:exit code: (\d+)|(.*))$/s
const NO_SPACE = /no space left on device|disk quota exceeded/i
/** What is full there is the registry's disk: the author of the build can't help it. */
const REGISTRY_REPLY =
  /\bunexpected status(?: code)? |\b50[07] (?:Internal Server Error|Insufficient Storage)/
const NO_MEMORY = /cannot allocate memory|signal: killed/
/** BuildKit finds what it has kept missing or changed: seen with each of its files damaged in turn. */
const STATE_BROKEN =
  /invalid database|failed to open database file|failed to prepare \S* ?as |failed to rename: |parent snapshot \S+ does not exist|blob sha256:\S+ expected at|unexpected digest sha256:\S+ copied|digest did not match|\/var\/lib\/buildkit\/|structure needs cleaning|input\/output error|bad message/i
const KILLED = 137
const UNREACHABLE =
  /connection re(?:fused|set)|no such host|i\/o timeout|network is unreachable|EOF|broken pipe|proxyconnect|unexpected status.*: 5\d\d|TLS handshake|lookup \S+/i

export function explainFailure(facts: FailureFacts): Failure {
  const { failed } = facts
  const step = failed && failedStep(failed)
  const found = classify(facts)
  return { ...found, ...(step ? { failed_step: step } : {}) }
}

function classify(facts: FailureFacts): Failure {
  const { failed, buildkitdAlive, oomKills, exitCode } = facts
  const error = failed?.error ?? reason(facts.error)
  const where = failed ? `step ${failed.n} (${oneLine(failed.name)})` : 'the build'
  const ran = failed && PROCESS_FAILED.exec(failed.error)
  // A process's error quotes its command, which may say anything; what it printed counts.
  const isFull = NO_SPACE.test(ran ? failed.lastLines.join('\n') : error)
  if (isFull && (ran || !REGISTRY_REPLY.test(error))) {
    return { failure_class: 'disk', error: `${where} failed: ${fullBuildDisk(facts.config)}` }
  }
  if (ran) return explainStep(where, ran, oomKills)
  if (!buildkitdAlive) {
    return { failure_class: 'infra', error: `BuildKit ended during the build: ${clip(error)}` }
  }
  if (STATE_BROKEN.test(error)) {
    return { failure_class: 'infra', error: `BuildKit's own state is broken: ${clip(error)}` }
  }
  if (/failed to push|\bpushing\b/.test(error) || failed?.name.startsWith('exporting to ')) {
    return { failure_class: 'registry', error: `the image could not be pushed: ${clip(error)}` }
  }
  const pulled = failed && /(?:load metadata for|\bFROM) (\S+)/.exec(failed.name)?.[1]
  if (pulled) return explainPull(pulled, error, facts)
  if (facts.error.includes('failed to solve')) {
    return { failure_class: 'build', error: failed ? `${where} failed: ${clip(error)}` : error }
  }
  const how = exitCode === null ? 'was killed' : `ended with exit code ${exitCode}`
  return {
    failure_class: 'infra',
    error: error ? `BuildKit failed: ${clip(error)}` : `buildctl ${how}`,
  }
}

function explainStep(where: string, ran: RegExpExecArray, oomKills: number): Failure {
  const code = ran[1] === undefined ? undefined : Number(ran[1])
  const killed = code === KILLED || NO_MEMORY.test(ran[2] ?? '')
  if (killed && oomKills > 0) {
    const error = `${where} ran out of memory: the kernel killed it; raise memory_mb`
    return { failure_class: 'oom', error }
  }
  const how = code === undefined ? `: ${clip(ran[2] ?? '')}` : ` with exit code ${code}`
  return { failure_class: 'build', error: `${where} failed${how}` }
}

function explainPull(ref: string, error: string, facts: FailureFacts): Failure {
  const { registry_url: tunnel, registry_public_name: name, network_mode: mode } = facts.config
  const { registry_mirrors: mirrors = [] } = facts.config
  const isOurs = ref.startsWith(`${tunnel}/`) || ref.startsWith(`${name}/`)
  const message = `base image ${ref} could not be loaded: ${error}`
  if (!UNREACHABLE.test(error)) return { failure_class: 'build', error: clip(message) }
  if (isOurs) return { failure_class: 'registry', error: clip(message) }
  if (mode !== 'isolated') return { failure_class: 'build', error: clip(message) }
  // Nothing else answers for it then: the mirror had none, and its registry did not answer.
  if (mirrors.some((host) => ref.startsWith(`${host}/`))) {
    return { failure_class: 'registry', error: clip(message) }
  }
  const others = mirrors.length === 0 ? '' : `, and of ${mirrors.join(', ')}`
  const hint = ` (this build is isolated: only images of this registry${others})`
  return { failure_class: 'build', error: clip(message) + hint }
}

function failedStep(failed: FailedVertex): FailedStep {
  const code = PROCESS_FAILED.exec(failed.error)?.[1]
  return {
    n: failed.n,
    name: shortName(failed.name),
    ...(code === undefined ? {} : { exit_code: Number(code) }),
    last_lines: [...failed.lastLines],
  }
}

/** buildctl's words without its prefixes. */
function reason(line: string): string {
  return clip(line.replace(/^error: /, '').replace(/^failed to solve: /, ''))
}

function oneLine(name: string): string {
  const first = name.split('\n')[0] ?? ''
  return first.length > 200 ? `${first.slice(0, 200)}…` : first
}

function clip(text: string): string {
  return text.length > ERROR_CHARS_MAX ? `${text.slice(0, ERROR_CHARS_MAX)}…` : text
}
