// The room on the server's disk.
import type { Meter } from '@opentelemetry/api'
import type { DiskState } from '../disk-guard/guard.ts'

export type LookAtDisk = () => Promise<DiskState>

export function observeDisk(meter: Meter, look: LookAtDisk): void {
  const free = meter.createObservableGauge('hypeman_disk_free_bytes', {
    description: "Room on the server's disk",
    unit: 'By',
  })
  const low = meter.createObservableGauge('hypeman_disk_low', {
    description: '1 while there is too little of it to build',
  })
  meter.addBatchObservableCallback(
    async (result) => {
      const { freeBytes, isLow } = await look()
      result.observe(free, freeBytes)
      result.observe(low, isLow ? 1 : 0)
    },
    [free, low],
  )
}
