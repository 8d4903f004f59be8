import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadOrder } from '../../../server/setup/parts/initramfs.ts'
import { kernelPackage } from '../../../server/setup/parts/kernel.ts'

test('modules are loaded once each, after those they depend on', () => {
  const virtio = ['insmod /k/virtio_ring.ko ', 'insmod /k/virtio.ko ']
  const order = loadOrder([
    [...virtio, 'insmod /k/virtio_pci.ko '].join('\n'),
    [...virtio, 'insmod /k/virtio_blk.ko '].join('\n'),
    'builtin ext4\n',
  ])
  const names = ['virtio_ring', 'virtio', 'virtio_pci', 'virtio_blk']
  assert.deepEqual(
    order,
    names.map((name) => `/k/${name}.ko`),
  )
})

test('the kernel package is the one with a version that the meta package depends on', () => {
  const meta = ['linux-image-6.1.0-56-cloud-amd64']
  assert.equal(kernelPackage(meta), 'linux-image-6.1.0-56-cloud-amd64')
  assert.equal(kernelPackage(['linux-image-6.8.0-60-generic', '<linux-image>']), undefined)
  assert.equal(kernelPackage([]), undefined)
})
