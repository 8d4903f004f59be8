// Starts a sandbox's chain of programs and takes part in it: tells the kernel whom the sandbox's ids stand
// for (only root may), and learns which process is the first inside. DESIGN §4.9.
import { readFile, writeFile } from 'node:fs/promises'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { SANDBOX_START_DEADLINE_MS } from '../limits.ts'
import type { UserIds } from '../setup/users.ts'
import { POD_IDS, type Sandbox, sandboxCommand } from './bubblewrap-args.ts'
import { type Child, startChild } from './child.ts'
import type { ConsoleRing } from './console-ring.ts'

const BIND_POLL_MS = 2

export interface LaunchOptions {
  sandbox: Sandbox
  ring: ConsoleRing
  files: { source: number; config: number; seccomp: number }
  /** The process exists and has not done anything yet that needs limits. */
  onStarted(child: Child): Promise<void>
  /** The first process inside, by its number out here: when it is gone, everything in there is. */
  onInside(pid: number): Promise<void>
  /** It has been killed, but what it started may have been too young to end with it. */
  onFailed(): Promise<void>
}

/** Resolves when the sandbox is made; rejects with its last words, and nothing left running, otherwise. */
export async function launchSandbox(options: LaunchOptions): Promise<void> {
  const { sandbox, ring, files } = options
  const child = await startChild(sandboxCommand(sandbox), {
    ring,
    control: true,
    // In the order of INHERITED_FDS.
    inherit: [files.source, files.config, files.seccomp],
  })
  const deadline = setTimeout(child.kill, SANDBOX_START_DEADLINE_MS)
  try {
    await options.onStarted(child)
    const line = readControl(child.control!)
    await line('ready\n')
    await mapIds(child.pid, sandbox.ids)
    child.control!.write('go\n')
    const { 'child-pid': firstPid } = JSON.parse(await line('}')) as { 'child-pid': number }
    await options.onInside(firstPid)
    await untilBound(child.ended, () => readStatus(firstPid))
  } catch (error) {
    child.kill()
    await options.onFailed()
    const { code } = await child.exited
    const words = ring.text().trim().split('\n').slice(-3).join('; ')
    const how = code === null ? 'did not come up in time' : `ended with exit code ${code}`
    throw new Error(`the sandbox ${how}: ${words || (error as Error).message}`, { cause: error })
  } finally {
    clearTimeout(deadline)
  }
}

/**
 * Until the first process has asked the kernel to end it with bwrap, and so with the server: right after that
 * it takes the filter on itself, which can be seen. One that has ended already needs neither.
 */
export async function untilBound(
  ended: Promise<void>,
  readStatus: () => Promise<string | undefined>,
): Promise<void> {
  let hasEnded = false
  void ended.then(() => {
    hasEnded = true
  })
  for (;;) {
    // Asked before: what has been read may be of a moment before the end, and the end a good one.
    const isOver = hasEnded
    const status = await readStatus()
    if (status === undefined || /^State:\s+Z|^Seccomp:\s+2$/m.test(status)) return
    if (isOver) throw new Error('bwrap ended before its sandbox was made')
    await sleep(BIND_POLL_MS)
  }
}

/** Undefined when it is gone. */
function readStatus(pid: number): Promise<string | undefined> {
  return readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined)
}

async function mapIds(pid: number, { uid, gid }: UserIds): Promise<void> {
  await writeFile(`/proc/${pid}/uid_map`, `0 ${uid} ${POD_IDS}\n`)
  await writeFile(`/proc/${pid}/gid_map`, `0 ${gid} ${POD_IDS}\n`)
}

/** Returns a function that reads on until the text has come. */
function readControl(control: Duplex): (until: string) => Promise<string> {
  let pending = ''
  control.setEncoding('utf8')
  return (until) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const end = pending.indexOf(until)
        if (end === -1) return false
        stop()
        resolve(pending.slice(0, end + until.length))
        pending = pending.slice(end + until.length)
        return true
      }
      const onData = (text: string) => {
        pending += text
        look()
      }
      const onEnd = () => {
        stop()
        reject(new Error(`it ended before it said ${JSON.stringify(until)}`))
      }
      const stop = () => {
        control.off('data', onData).off('end', onEnd).off('close', onEnd)
      }
      if (look()) return
      control.on('data', onData).once('end', onEnd).once('close', onEnd)
      if (control.readableEnded || control.destroyed) onEnd()
    })
}
