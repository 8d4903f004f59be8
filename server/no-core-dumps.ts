// No process of the server leaves its memory on disk: it holds tokens and the secrets of builds. The limit is
// set on the server itself and inherited by everything it starts.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { asError } from './errors.ts'
import type { Log } from './telemetry/log.ts'

export async function forbidCoreDumps(log: Log): Promise<void> {
  try {
    // Node has no call for it.
    await promisify(execFile)('prlimit', ['--pid', String(process.pid), '--core=0:0'])
  } catch (error) {
    log.warn({ err: asError(error).message }, 'core dumps could not be turned off')
  }
}
