// The name of some bytes in a registry.
import { createHash } from 'node:crypto'

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
