// The bubblewrap runner: a sandbox of namespaces on the host's own kernel. Starts in a fraction of a second and
// is the weaker boundary, so it is used only when asked for by name. Usable when a trial has made a sandbox
// and done in it what BuildKit needs.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { readReleaseData } from '../disks/release-data.ts'
import { asError } from '../errors.ts'
import { SANDBOX_TRIAL_DEADLINE_MS } from '../limits.ts'
import { isRoot } from '../setup/debian.ts'
import { type BubblewrapHost, startBubblewrapPod } from './bubblewrap-pod.ts'
import { podPaths } from './pod-files.ts'
import type { PodSpec, Runner } from './runner.ts'
import { createRunner, makeRunDir, type RunnerFolders } from './runner-base.ts'

export interface BubblewrapRunnerOptions extends RunnerFolders {
  tools: BubblewrapHost['tools']
  /** The unpacked builder image. */
  rootfs: string
}

export const ONLY_ROOT =
  'only root may give a sandbox user ids of its own; start the server as root'

/** What runc and overlayfs do later: a nested PID namespace with its own /proc, an overlay, loopback. */
const TRIAL = `set -e
export PATH=/usr/bin:/bin
cd /src
busybox mkdir lower upper work merged
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr trial merged
busybox unshare -p -f -m /usr/bin/busybox mount -t proc proc /proc`

/** Known causes; what is not known speaks for itself. */
const HINTS: [pattern: RegExp, hint: string][] = [
  [
    /unshare failed: (Operation not permitted|No space left)|bwrap: .*Permission denied/,
    'user namespaces are closed: see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns',
  ],
  [/EINVAL.*chown/, 'the server is root of a user namespace that has too few user ids'],
  [/loop|mount.*state/, 'the kernel needs loop devices (modprobe loop) for the disk limit'],
  [/trial/, 'overlayfs in a user namespace needs Linux 5.11 or newer'],
  [/proc on \/proc/, '/proc is covered, as in most containers: start the server outside of one'],
]

export function createBubblewrapRunner(options: BubblewrapRunnerOptions): Runner {
  const { tools, rootfs, log } = options
  let isUsable = false

  async function unusableReason(): Promise<string | null> {
    if (isUsable) return null
    const reason = await trialFailure(options)
    isUsable = reason === null
    return reason
  }

  return createRunner(
    {
      name: 'bubblewrap',
      boundary: 'shared kernel',
      releaseData: () => readReleaseData(rootfs),
      unusableReason,
      startPod: (spec, paths, signal) =>
        startBubblewrapPod(spec, { tools, rootfs, paths, log }, signal),
    },
    options,
  )
}

/** Makes a sandbox and works in it; one sentence when that does not go. Nothing of it remains. */
async function trialFailure(options: BubblewrapRunnerOptions): Promise<string | null> {
  const { tools, rootfs, runDir, dataDir, log } = options
  if (!isRoot()) return ONLY_ROOT
  const id = `trial-${randomBytes(6).toString('hex')}`
  const paths = podPaths(runDir, dataDir, id)
  const command = ['/usr/bin/busybox', 'sh', '-c', TRIAL]
  const signal = AbortSignal.timeout(SANDBOX_TRIAL_DEADLINE_MS)
  try {
    await makeRunDir(runDir)
    const pod = await startBubblewrapPod(
      trialSpec(id),
      { tools, rootfs, paths, log, command },
      signal,
    )
    const deadline = sleep(SANDBOX_TRIAL_DEADLINE_MS, undefined, { ref: false })
    const exit = await Promise.race([pod.exited, deadline])
    const words = pod.console().trim()
    await pod.stop()
    if (exit?.code === 0) return null
    return explain(words || `the trial ended with ${exit?.signal ?? `exit code ${exit?.code}`}`)
  } catch (error) {
    return explain(asError(error).message)
  }
}

function explain(words: string): string {
  const hint = HINTS.find(([pattern]) => pattern.test(words))?.[1]
  return `no sandbox can be made here: ${words}${hint ? ` (${hint})` : ''}`
}

function trialSpec(id: string): PodSpec {
  return {
    id,
    memoryMb: 128,
    cpus: 1,
    diskBytes: 64 * 1024 * 1024,
    networkMode: 'isolated',
    sourceFile: '/dev/null',
    config: {
      job_id: 'trial',
      channel_key: '',
      registry_url: 'localhost:5000',
      registry_public_name: 'localhost:5000',
      image_repository: 'builds/trial',
      source_path: '/src',
      source_hash: 'none',
      timeout_seconds: 1,
      network_mode: 'isolated',
    },
    services: new Map(),
  }
}
