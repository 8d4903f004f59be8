import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type QemuMachine, qemuArgs, vsockDeviceArgs } from '../../../server/runners/qemu-args.ts'
import { unprivileged } from '../../../server/runners/unprivileged.ts'

const MACHINE: QemuMachine = {
  accel: 'tcg',
  cpus: 2,
  memoryMb: 2048,
  kernel: '/k',
  initramfs: '/i',
  vhostSocket: '/run/p/s/vhost',
  disks: [
    { fd: 3, writable: false },
    { fd: 4, writable: true },
    { fd: 5, writable: false },
    { fd: 6, writable: false },
  ],
}

function valuesOf(args: readonly string[], flag: string): string[] {
  return args.flatMap((arg, index) => (args[index - 1] === flag ? [arg] : []))
}

test('the guest has no network card and no device but disks, vsock and a console', () => {
  const args = qemuArgs(MACHINE)
  const devices = valuesOf(args, '-device').map((device) => device.split(',')[0])
  const disk = 'virtio-blk-pci'
  assert.deepEqual(devices, [disk, disk, disk, disk, 'vhost-user-vsock-pci'])
  for (const flag of ['-netdev', '-nic', '-net', '-fsdev', '-virtfs']) {
    assert.ok(!args.includes(flag), flag)
  }
  assert.ok(args.includes('-nodefaults') && args.includes('-no-user-config'))
})

test('every disk is raw by declaration and only the scratch disk can be written', () => {
  const blocks = valuesOf(qemuArgs(MACHINE), '-blockdev')
  const raw = blocks.filter((block) => block.startsWith('driver=raw,'))
  assert.equal(raw.length, 4)
  assert.equal(blocks.length, 8)
  for (const block of blocks) assert.match(block, /auto-read-only=off/)
  const writable = blocks.filter((block) => block.includes('read-only=off'))
  assert.deepEqual(
    writable.filter((block) => !block.includes('auto-')).length,
    0,
    'every block names its mode',
  )
  assert.deepEqual(
    raw.map((block) => /,read-only=(on|off)/.exec(block)?.[1]),
    ['on', 'off', 'on', 'on'],
  )
})

test('disks are inherited descriptors: no path of the host is named but kernel, initramfs and socket', () => {
  const args = qemuArgs(MACHINE)
  assert.deepEqual(valuesOf(args, '-add-fd'), [
    'fd=3,set=1',
    'fd=4,set=2',
    'fd=5,set=3',
    'fd=6,set=4',
  ])
  const files = args.join(' ').match(/filename=[^,]*/g)
  assert.deepEqual(
    files,
    [1, 2, 3, 4].map((set) => `filename=/dev/fdset/${set}`),
  )
})

test('QEMU is sandboxed and its memory is shared with the vsock device', () => {
  const args = qemuArgs(MACHINE)
  assert.deepEqual(valuesOf(args, '-sandbox'), [
    'on,obsolete=deny,elevateprivileges=deny,resourcecontrol=deny,spawn=deny',
  ])
  assert.deepEqual(valuesOf(args, '-object'), [
    'memory-backend-memfd,id=mem,size=2048M,share=on,dump=off',
  ])
  assert.match(valuesOf(args, '-machine')[0] ?? '', /^q35,memory-backend=mem,/)
})

test('the acceleration decides the processor', () => {
  const cpuOf = (accel: 'kvm' | 'tcg') => valuesOf(qemuArgs({ ...MACHINE, accel }), '-cpu')[0]
  assert.equal(cpuOf('kvm'), 'host')
  assert.equal(cpuOf('tcg'), 'max')
})

test('the vsock device listens where QEMU and the server look', () => {
  const args = vsockDeviceArgs({ vhostSocket: '/a/vhost', guestSocket: '/a/vm' })
  assert.deepEqual(args, ['--guest-cid', '3', '--socket', '/a/vhost', '--uds-path', '/a/vm'])
})

test('a program of a pod loses user, groups and capabilities and dies with the server', () => {
  const command = { file: '/bin/vm', args: ['-x'] }
  const asUser = unprivileged({ setpriv: '/s', user: { uid: 7, gid: 8 } }, command)
  assert.equal(asUser.file, '/s')
  const flags = asUser.args.slice(0, asUser.args.indexOf('--'))
  for (const flag of [
    '--reuid=7',
    '--regid=8',
    '--clear-groups',
    '--no-new-privs',
    '--pdeathsig=KILL',
    '--bounding-set=-all',
    '--inh-caps=-all',
  ]) {
    assert.ok(flags.includes(flag), flag)
  }
  assert.deepEqual(asUser.args.slice(-3), ['--', '/bin/vm', '-x'])
  const asCaller = unprivileged({ setpriv: '/s', user: null }, command)
  assert.deepEqual(asCaller.args, ['--no-new-privs', '--pdeathsig=KILL', '--', '/bin/vm', '-x'])
})

test('the disk of a builder is one more that the guest may write, and gives its free blocks back', () => {
  const disks = [...MACHINE.disks, { fd: 7, writable: true }]
  const blocks = valuesOf(qemuArgs({ ...MACHINE, disks }), '-blockdev')
  const last = blocks.filter((block) => block.includes('node-name=disk4'))
  assert.deepEqual(last, [
    'driver=raw,node-name=disk4,read-only=off,auto-read-only=off,file=file4,discard=unmap',
  ])
})
