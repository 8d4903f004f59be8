// `npm run doctor`: every part with its version, where it is and whether it can be used; whether a guest
// boots; which hardening holds. It installs and builds nothing.
import type { Config } from '../config.ts'
import { workerConfig } from '../worker-config.ts'
import { readOnlyCache } from './cache.ts'
import { hardeningLooks } from './doctor/hardening-looks.ts'
import { type Look, rowOf } from './doctor/look.ts'
import { partLooks } from './doctor/part-looks.ts'
import { sandboxLooks } from './doctor/sandbox-looks.ts'
import { isHealthy, type Row, renderTable, type Section } from './doctor/table.ts'
import { workerLooks } from './doctor/worker-looks.ts'
import { setupEnv } from './env.ts'
import { type MicroVmProbe, probeMicroVm } from './microvm-probe.ts'
import { findParts } from './parts.ts'
import { findUsers } from './users.ts'

export type DoctorOptions = Pick<
  Config,
  'dataDir' | 'runner' | 'databaseUrl' | 'serverUrl' | 'workerToken'
>

/** Prints the table; sets the exit code to 1 when something is not usable without which no build runs. */
export async function runDoctor(config: DoctorOptions): Promise<void> {
  const { dataDir, runner } = config
  const { cacheDir, baseInitramfs } = setupEnv()
  const parts = await rowsOf(partLooks(readOnlyCache(cacheDir), baseInitramfs))
  const inSandboxes = runner === 'bubblewrap'
  const probe = await probeRow({ isNeeded: !inSandboxes })
  const hardening = await rowsOf(hardeningLooks({ dataDir, probe: probe.result }))
  const sections: Section[] = [
    { title: `Parts (cache: ${cacheDir})`, rows: parts },
    { title: 'MicroVM', rows: [probe.row] },
    ...(inSandboxes ? [await sandboxSection(cacheDir)] : []),
    ...(await workerSection(config)),
    { title: 'Hardening', rows: hardening },
  ]
  process.stdout.write(`${renderTable(sections)}\n`)
  if (!isHealthy(sections)) process.exitCode = 1
}

const rowsOf = (looks: Look[]): Promise<Row[]> => Promise.all(looks.map(rowOf))

async function sandboxSection(cacheDir: string): Promise<Section> {
  const rows = await rowsOf(sandboxLooks(readOnlyCache(cacheDir)))
  return { title: 'Sandbox (RUNNER=bubblewrap)', rows }
}

/** Where the settings are those of a worker on its own. */
async function workerSection(config: DoctorOptions): Promise<Section[]> {
  if (config.serverUrl === undefined) return []
  const rows = await rowsOf(workerLooks(workerConfig(config)))
  return [{ title: 'Worker (SERVER_URL)', rows }]
}

async function probeRow({
  isNeeded,
}: {
  isNeeded: boolean
}): Promise<{ row: Row; result: MicroVmProbe | undefined }> {
  let result: MicroVmProbe | undefined
  const row = await rowOf({
    name: 'guest boots',
    isNeeded,
    repair: 'npm run setup && npm run doctor',
    async look() {
      const { vm } = await findUsers()
      const parts = await findParts()
      result = await probeMicroVm({ parts, user: vm })
      if (!result.accel) throw new Error(result.reasons.join('; '))
      return {
        version: result.accel,
        from: `QEMU ${parts.qemuVersion}, ${parts.kernelVersion}`,
        notes: [`init reached after ${result.bootMs} ms`, ...result.reasons],
      }
    },
  })
  return { row, result }
}
