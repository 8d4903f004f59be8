// Whether sandboxes can be made on this machine. Not as a plain user, nor in most containers: there the broad
// end-to-end tests run in guests instead, and the tests of the sandbox itself check that the runner says why.
import assert from 'node:assert/strict'
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ONLY_ROOT } from '../../server/runners/bubblewrap.ts'
import { isRoot } from '../../server/setup/debian.ts'
import { removeFolder } from './folders.ts'
import { makeRunner, type RunnerName } from './pods.ts'

/** What can be wrong with a machine; anything else is wrong with the runner, and must fail. */
const OF_THE_MACHINE =
  /user\.max_user_namespaces|loop devices|Linux 5\.11|in most containers|too few user ids/

let reason: Promise<string | null> | undefined

export function noSandboxReason(): Promise<string | null> {
  reason ??= lookForReason()
  return reason
}

async function lookForReason(): Promise<string | null> {
  // Nothing is installed for what could not be used.
  if (!isRoot()) return ONLY_ROOT
  const dir = await mkdtemp(join(tmpdir(), 'hm-usable-'))
  try {
    await chmod(dir, 0o711)
    const { runner } = await makeRunner(dir, 'bubblewrap')
    const found = await runner.unusableReason()
    if (found !== null) assert.match(found, OF_THE_MACHINE)
    return found
  } finally {
    await removeFolder(dir)
  }
}

/** For tests that are about the server, not about what isolates a build: the fastest there is. */
export async function fastestRunner(): Promise<RunnerName> {
  return (await noSandboxReason()) === null ? 'bubblewrap' : 'qemu'
}

/** Defines the tests of the sandbox, or the one that holds where there can be none. */
export async function testSandboxes(define: () => void): Promise<void> {
  const found = await noSandboxReason()
  if (found === null) define()
  else test(`no sandbox can be made on this machine, and the runner says why: ${found}`, () => {})
}
