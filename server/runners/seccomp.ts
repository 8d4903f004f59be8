// The system call filter of a sandbox on the host's kernel, as the program bwrap loads (classic BPF for
// x86-64). It takes away kernel interfaces that no build needs and that are the usual ways out, and every
// family of sockets that a network namespace does not keep in: AF_VSOCK would reach the machine's own host.

/** Numbers of x86-64. What is refused looks as if the kernel did not have it, and programs know that case. */
const REFUSED_CALLS = {
  syslog: 103,
  acct: 163,
  swapon: 167,
  swapoff: 168,
  reboot: 169,
  iopl: 172,
  ioperm: 173,
  init_module: 175,
  delete_module: 176,
  quotactl: 179,
  lookup_dcookie: 212,
  kexec_load: 246,
  add_key: 248,
  request_key: 249,
  keyctl: 250,
  perf_event_open: 298,
  fanotify_init: 300,
  open_by_handle_at: 304,
  finit_module: 313,
  kexec_file_load: 320,
  bpf: 321,
  userfaultfd: 323,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  quotactl_fd: 443,
} as const

const SOCKET_CALL = 41
const SOCKET_FAMILIES = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17 } as const

const ARCH_X86_64 = 0xc000003e
/** Calls of the x32 variant have this bit; they would go round the numbers above. */
const X32_BIT = 0x40000000
const ALLOW = 0x7fff0000
const ENOSYS = 0x00050000 | 38
const EAFNOSUPPORT = 0x00050000 | 97

/** Offsets in struct seccomp_data. */
const NUMBER = 0
const ARCH = 4
const FIRST_ARGUMENT = 16

/** A struct sock_filter: code, jumps when true and when false, constant. */
type Instruction = [code: number, whenTrue: number, whenFalse: number, k: number]
const load = (offset: number): Instruction => [0x20, 0, 0, offset]
const skipUnlessEqual = (k: number, count: number): Instruction => [0x15, 0, count, k]
const skipIfEqual = (k: number, count: number): Instruction => [0x15, count, 0, k]
const skipUnlessAtLeast = (k: number, count: number): Instruction => [0x35, 0, count, k]
const answer = (action: number): Instruction => [0x06, 0, 0, action]

export function seccompProgram(): Buffer {
  const families = Object.values(SOCKET_FAMILIES)
  const program: Instruction[] = [
    load(ARCH),
    // 32-bit programs have other numbers, and a socket call whose family can't be seen from here.
    skipIfEqual(ARCH_X86_64, 1),
    answer(ENOSYS),
    load(NUMBER),
    skipUnlessAtLeast(X32_BIT, 1),
    answer(ENOSYS),
    ...Object.values(REFUSED_CALLS).flatMap((call) => [skipUnlessEqual(call, 1), answer(ENOSYS)]),
    skipUnlessEqual(SOCKET_CALL, families.length + 2),
    load(FIRST_ARGUMENT),
    ...families.map((family, i) => skipIfEqual(family, families.length - i)),
    answer(EAFNOSUPPORT),
    answer(ALLOW),
  ]
  return Buffer.concat(program.map(encode))
}

function encode([code, whenTrue, whenFalse, k]: Instruction): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt16LE(code, 0)
  bytes.writeUInt8(whenTrue, 2)
  bytes.writeUInt8(whenFalse, 3)
  bytes.writeUInt32LE(k, 4)
  return bytes
}
