// One look at one thing: what it is, or why it can't be used. A look never throws, installs or builds.
import { execa } from 'execa'
import { reasonOf, SetupError } from '../cache.ts'
import type { Row } from './table.ts'

export type Found = Pick<Row, 'version' | 'from' | 'notes'>

export interface Look {
  name: string
  isNeeded: boolean
  /** When the failure does not name its own. */
  repair: string
  look(): Promise<Found>
}

export async function rowOf({ name, isNeeded, repair, look }: Look): Promise<Row> {
  try {
    return { name, isNeeded, ...(await look()) }
  } catch (error) {
    const known = error instanceof SetupError ? error : undefined
    const problem = (known?.reason ?? reasonOf(error)).replace(/\s*\n\s*/g, '; ')
    return {
      name,
      isNeeded,
      version: '-',
      from: '-',
      problem,
      repair: known?.repair ?? repair,
    }
  }
}

/** The version a program says it has. Some exit with an error after saying it. */
export async function versionOf(program: string, flag = '--version'): Promise<string> {
  const { all, failed, exitCode } = await execa(program, [flag], {
    all: true,
    reject: false,
    timeout: 10_000,
    stdin: 'ignore',
  })
  const version = firstVersion(all ?? '')
  if (version) return version
  const how = failed ? `ended with exit code ${exitCode ?? 'none'}` : 'says nothing'
  throw new Error(`${program} ${flag} ${how}`)
}

/** `git version 2.39.5` → 2.39.5 */
export function firstVersion(text: string): string | undefined {
  return (
    /\bv?(\d+(?:\.\d+)+)/.exec(text.split('\n')[0] ?? '')?.[1] ??
    /\bversion v?(\d+)/.exec(text)?.[1]
  )
}
