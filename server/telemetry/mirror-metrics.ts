// What is measured of mirrored registries: images that were asked for, by what became of them.
import type { Meter } from '@opentelemetry/api'
import type { MirrorEvent } from '../mirror/mirror.ts'

export function createMirrorMetrics(meter: Meter) {
  const images = meter.createCounter('hypeman_mirror_images_total', {
    description: 'Images asked for through a mirror, by what became of them',
  })
  return ({ host, outcome }: MirrorEvent): void => images.add(1, { registry: host, outcome })
}
