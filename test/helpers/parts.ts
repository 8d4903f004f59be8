// The parts as `npm test` has set them up; a test never builds one itself when the cache is filled.
import { ensureParts } from '../../server/setup/parts.ts'
import type { Parts } from '../../server/setup/parts-types.ts'

let parts: Promise<Parts> | undefined

export function testParts(): Promise<Parts> {
  parts ??= ensureParts()
  return parts
}
