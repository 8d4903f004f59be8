// Command lines of the two processes of a pod. Pure: the same input gives the same arguments. The machine is
// a stripped q35 without network card; every disk is raw by declaration, never guessed from its content.
export type Accel = 'kvm' | 'tcg'

export interface QemuMachine {
  accel: Accel
  cpus: number
  memoryMb: number
  kernel: string
  initramfs: string
  /** Unix socket of vhost-device-vsock. */
  vhostSocket: string
  /** In the guest's order: vda, vdb, … as inherited file descriptors. */
  disks: readonly QemuDisk[]
}

export interface QemuDisk {
  fd: number
  writable: boolean
}

/**
 * The kernel prints only what matters, reboots at a panic (QEMU then exits) and trusts this machine's clock.
 * Its own hardening is off: the machine belongs to one build, and the VM is the boundary (0.4 s less boot).
 */
const KERNEL_COMMAND_LINE = [
  // An emulated machine with several processors hung in one boot of a hundred: the kernel patched its own
  // code while the other processor ran it, and both kept running the stale breakpoint. So the image's start
  // script brings the others up, when that patching is over.
  'maxcpus=1 noreplace-smp',
  'console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable no_timer_check',
  'mitigations=off init_on_alloc=0 lsm= audit=0 nokaslr rcupdate.rcu_expedited=1 cryptomgr.notests',
].join(' ')
/** Translated code of an emulated guest; QEMU's default of 1 GiB would not fit the pod's memory limit. */
const TCG_BUFFER_MB = 256
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,resourcecontrol=deny,spawn=deny'
const OFF = ['hpet', 'smm', 'sata', 'smbus', 'usb', 'vmport', 'graphics']

export function qemuArgs(machine: QemuMachine): string[] {
  return [
    ...machineArgs(machine),
    ...machine.disks.flatMap(diskArgs).flat(),
    ...['-chardev', `socket,id=vsock,path=${machine.vhostSocket}`],
    ...['-device', 'vhost-user-vsock-pci,chardev=vsock'],
  ]
}

/** The machine without its devices; also what the usability probe boots, with more words for the kernel. */
export function machineArgs(
  machine: Pick<QemuMachine, 'accel' | 'cpus' | 'memoryMb' | 'kernel' | 'initramfs'>,
  moreWords = '',
): string[] {
  const { accel, cpus, memoryMb } = machine
  return [
    ['-machine', ['q35', 'memory-backend=mem', ...OFF.map((name) => `${name}=off`)].join(',')],
    ['-accel', accel === 'kvm' ? 'kvm' : `tcg,thread=multi,tb-size=${TCG_BUFFER_MB}`],
    ['-cpu', accel === 'kvm' ? 'host' : 'max'],
    ['-smp', String(cpus)],
    ['-m', `${memoryMb}M`],
    // vhost-user needs the guest's memory to be shareable; a core of QEMU must not hold it.
    ['-object', `memory-backend-memfd,id=mem,size=${memoryMb}M,share=on,dump=off`],
    ['-kernel', machine.kernel],
    ['-initrd', machine.initramfs],
    ['-append', [KERNEL_COMMAND_LINE, moreWords].join(' ').trim()],
    ['-nodefaults', '-no-user-config', '-no-reboot'],
    ['-display', 'none'],
    ['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ['-sandbox', SANDBOX],
  ].flat()
}

/** `/dev/fdset/<n>` stands for a file that the server has opened: QEMU's user needs no right to any path. */
function diskArgs({ fd, writable }: QemuDisk, index: number): string[][] {
  const set = index + 1
  const mode = `read-only=${writable ? 'off' : 'on'},auto-read-only=off`
  // A disk dies with the pod, or is flushed by the host when it is kept, so a flush by the guest need not reach
  // the host's disk. What the guest gives up is given back to the host.
  const file = `filename=/dev/fdset/${set},locking=off,cache.direct=off,cache.no-flush=on`
  const discard = writable ? ',discard=unmap' : ''
  return [
    ['-add-fd', `fd=${fd},set=${set}`],
    ['-blockdev', `driver=file,node-name=file${index},${mode},${file}${discard}`],
    ['-blockdev', `driver=raw,node-name=disk${index},${mode},file=file${index}${discard}`],
    ['-device', `virtio-blk-pci,drive=disk${index}`],
  ]
}

/** Every pod has its own vsock device process, so all guests may have the same number. */
const GUEST_CID = 3

export function vsockDeviceArgs(sockets: { vhostSocket: string; guestSocket: string }): string[] {
  return [
    '--guest-cid',
    String(GUEST_CID),
    '--socket',
    sockets.vhostSocket,
    '--uds-path',
    sockets.guestSocket,
  ]
}
