// The attempts at each build: one after the other, no more than there may be, as many as the log tells of.
import { TERMINAL } from '../../../server/builds/schema.ts'
import { BUILD_ATTEMPTS_MAX } from '../../../server/limits.ts'
import type { AttemptFact, BuildFact, Facts } from './facts.ts'
import { grouped } from './group.ts'
import type { Finding } from './input.ts'

export function checkAttempts({ builds, attempts, logs }: Facts): Finding[] {
  const byBuild = grouped(attempts, ({ build_id: id }) => id)
  const begun = new Map(
    logs.map(({ build_id: id, statuses }) => [id, statuses.filter((s) => s === 'building').length]),
  )
  return builds.flatMap((build) => {
    const own = byBuild.get(build.id) ?? []
    return [
      ...checkApart(own),
      ...checkCount(build, own, begun.get(build.id) ?? 0),
      ...checkOutcome(build, own),
    ]
  })
}

export const shownAttempt = ({ build_id: id, attempt, worker, from, until }: AttemptFact) =>
  `build ${id} attempt ${attempt} on ${worker} (${instant(from)} to ${until === null ? 'now' : instant(until)})`

export const instant = (micros: number) =>
  `${new Date(Math.floor(micros / 1000)).toISOString().slice(0, -1)}${String(micros % 1000).padStart(3, '0')}Z`

function checkApart(own: readonly AttemptFact[]): Finding[] {
  return own.flatMap((one, i) => {
    const findings: Finding[] = []
    if (one.until !== null && one.until < one.from) {
      findings.push({
        invariant: 'times are in order',
        what: `${shownAttempt(one)} ends before it begins`,
      })
    }
    const before = own[i - 1]
    if (before && (before.until === null || before.until > one.from)) {
      const what = `${shownAttempt(before)} reaches into ${shownAttempt(one)}`
      findings.push({ invariant: 'attempts do not overlap', what })
    }
    return findings
  })
}

function checkCount(build: BuildFact, own: readonly AttemptFact[], begun: number): Finding[] {
  const invariant = 'attempts are counted'
  const counted = own.filter(({ outcome }) => outcome !== 'handed_back').length
  const told = own.map(({ attempt, outcome }) => `${attempt} ${outcome ?? 'runs'}`).join(', ')
  const findings: Finding[] = []
  if (counted > BUILD_ATTEMPTS_MAX) {
    const what = `build ${build.id} had ${counted} attempts of at most ${BUILD_ATTEMPTS_MAX}: ${told}`
    findings.push({ invariant: 'attempts are limited', what })
  }
  if (counted !== build.attempt) {
    const what = `build ${build.id} counts ${build.attempt} attempts, recorded are ${counted}: ${told}`
    findings.push({ invariant, what })
  }
  if (begun !== own.length) {
    const what = `the log of build ${build.id} begins ${begun} attempts, recorded are ${own.length}: ${told}`
    findings.push({ invariant, what })
  }
  return findings
}

function checkOutcome(build: BuildFact, own: readonly AttemptFact[]): Finding[] {
  const invariant = 'attempts end with their build'
  if (!TERMINAL.has(build.status)) return []
  const open = own.filter(({ until }) => until === null)
  const findings = open.map((one) => ({
    invariant,
    what: `${shownAttempt(one)} runs, and the build is ${build.status}`,
  }))
  const outcomes = own.map(({ outcome }) => outcome)
  const built = outcomes.filter((outcome) => outcome === 'built').length
  const isLast = built === 0 || (built === 1 && outcomes.at(-1) === 'built')
  if (isLast && (build.status !== 'ready' || built === 1)) return findings
  const what = `build ${build.id} is ${build.status}, and its attempts ended ${outcomes.join(', ')}`
  return [...findings, { invariant, what }]
}
