// `npm run setup`: everything that the first start would bring, without starting.
import { say } from './cache.ts'
import { probeMicroVm } from './microvm-probe.ts'
import { ensureParts } from './parts.ts'
import { sweepCaches } from './sweep-parts.ts'
import { ensureUsers } from './users.ts'

export async function runSetup(): Promise<void> {
  const parts = await ensureParts()
  const { vm } = await ensureUsers()
  const { accel, bootMs, reasons } = await probeMicroVm({ parts, user: vm })
  for (const reason of reasons) say(reason)
  if (!accel) throw new Error('no guest boots on this machine; npm run doctor shows why')
  for (const path of await sweepCaches(parts.cacheDir)) say(`removed ${path}: not used any more`)
  say(`a guest boots in ${bootMs} ms under ${accel}; everything is in ${parts.cacheDir}`)
}
