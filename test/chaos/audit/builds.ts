// Every build has ended, in an order of statuses that there is, and as whoever was answered was told.
import { TERMINAL } from '../../../server/builds/schema.ts'
import type { BuildFact, Facts } from './facts.ts'
import type { AuditInput, Finding } from './input.ts'

export function checkBuilds({ builds }: Facts, { cancelled }: AuditInput): Finding[] {
  const byId = new Map(builds.map((build) => [build.id, build]))
  const findings: Finding[] = []
  for (const build of builds) {
    if (!TERMINAL.has(build.status)) {
      const what = `build ${build.id} is ${build.status} in attempt ${build.attempt}`
      findings.push({ invariant: 'every build ends', what })
    }
    findings.push(...checkTimes(build), ...checkSuperseding(build, byId))
  }
  for (const id of cancelled) {
    const status = byId.get(id)?.status ?? 'unknown'
    if (status === 'cancelled') continue
    const what = `the cancel of build ${id} was acknowledged, and it is ${status}`
    findings.push({ invariant: 'what was cancelled is cancelled', what })
  }
  return findings
}

function checkTimes(build: BuildFact): Finding[] {
  const names = ['created_at', 'started_at', 'claimed_at', 'completed_at'] as const
  const known = names.flatMap((name) => (build[name] ? [{ name, at: build[name] }] : []))
  return known.slice(1).flatMap((later, i) => {
    const { name, at } = known[i]!
    if (at <= later.at) return []
    const what = `build ${build.id}: ${name} ${at.toISOString()} is after ${later.name} ${later.at.toISOString()}`
    return [{ invariant: 'times are in order', what }]
  })
}

function checkSuperseding(build: BuildFact, byId: ReadonlyMap<string, BuildFact>): Finding[] {
  const newer = build.superseded_by === null ? undefined : byId.get(build.superseded_by)
  if (!newer || (newer.ref === build.ref && newer.app_id === build.app_id)) return []
  const what = `build ${build.id} of ${build.app} ${build.ref} was superseded by ${newer.id} of ${newer.app} ${newer.ref}`
  return [{ invariant: 'only the same ref supersedes', what }]
}
