// What builds were made from is kept, byte for byte, before anybody is told of the build.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Facts } from './facts.ts'
import { grouped } from './group.ts'
import type { AuditInput, Finding } from './input.ts'

export async function checkSources({ builds }: Facts, { objects }: AuditInput): Promise<Finding[]> {
  const kept = builds.filter(({ source_expired_at: gone }) => gone === null)
  const findings: Finding[] = []
  for (const [key, own] of grouped(kept, ({ source_key: key }) => key)) {
    const found = await hashOf(join(objects, `${key}.tar`))
    // Its content is its name.
    if (key === `sources/${found}`) continue
    const ids = own.map(({ id }) => id).join(', ')
    const what = `${key} of the builds ${ids} ${found ? `has the content of ${found}` : 'is not there'}`
    findings.push({ invariant: 'sources are kept', what })
  }
  return findings
}

/** SHA-256; undefined when there is no file. */
async function hashOf(path: string): Promise<string | undefined> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(path), hash)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return hash.digest('hex')
}
