// Seconds since the guest's kernel started, for the console: the same clock as the kernel's own lines. Without
// a kernel of its own: since the agent started.
import { readFileSync } from 'node:fs'
import { environment } from './environment.ts'

export function uptimeMs(): number {
  if (!environment.ownKernel) return Math.round(process.uptime() * 1000)
  try {
    return Math.round(Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000)
  } catch {
    return Math.round(process.uptime() * 1000)
  }
}

/** One line on the serial console, for diagnosis. Must never carry a secret or a tenant's data. */
export function note(text: string): void {
  process.stderr.write(`agent ${(uptimeMs() / 1000).toFixed(2)}s: ${text}\n`)
}
