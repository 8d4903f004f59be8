// The log of each build: numbered from 1 without gaps, statuses that may follow each other, the terminal one last.
import { type BuildStatus, TERMINAL } from '../../../server/builds/schema.ts'
import { NEXT } from '../../../server/builds/transitions.ts'
import type { BuildFact, Facts, LogFact } from './facts.ts'
import type { Finding } from './input.ts'

export function checkLogs({ builds, logs }: Facts): Finding[] {
  const byBuild = new Map(logs.map((log) => [log.build_id, log]))
  return builds.flatMap((build) => {
    const log = byBuild.get(build.id)
    if (!log) return [gap(`build ${build.id} has no log at all`)]
    return [...checkNumbers(build, log), ...checkEnd(build, log), ...checkOrder(build, log)]
  })
}

const gap = (what: string): Finding => ({ invariant: 'logs have no gaps', what })

function checkNumbers(build: BuildFact, log: LogFact): Finding[] {
  if (log.last !== build.last_seq) {
    return [
      gap(`the log of build ${build.id} ends at ${log.last}, and ${build.last_seq} were given`),
    ]
  }
  // Retention takes lines of builds that ended long ago.
  if (build.log_expired_at !== null || log.events === log.last) return []
  const lost = log.last - log.events
  const which = `${log.missing.join(', ')}${lost > log.missing.length ? ', …' : ''}`
  return [gap(`the log of build ${build.id} has ${log.events} of ${log.last} events: not ${which}`)]
}

function checkEnd(build: BuildFact, log: LogFact): Finding[] {
  if (!TERMINAL.has(build.status)) return []
  if (log.last_type === 'status' && log.last_content === build.status) return []
  const last = `${log.last_type} ${JSON.stringify(log.last_content)}`
  const what = `build ${build.id} is ${build.status}, and its log ends with ${last}`
  return [{ invariant: 'logs end with their terminal line', what }]
}

function checkOrder(build: BuildFact, { statuses }: LogFact): Finding[] {
  const isLegal = statuses.every((status, i) =>
    i === 0 ? status === 'queued' : follows(statuses[i - 1]!, status),
  )
  if (isLegal && statuses.at(-1) === build.status) return []
  const what = `build ${build.id} is ${build.status} after ${statuses.join(', ')}`
  return [{ invariant: 'statuses follow each other', what }]
}

const follows = (before: BuildStatus, status: BuildStatus) => NEXT[before].includes(status)
