// The unprivileged users that git, the VMs and the database run as. Only root can make and use them; for
// anyone else everything runs as the caller, and doctor says so.
import { readFile, stat } from 'node:fs/promises'
import { execa } from 'execa'
import { say } from './cache.ts'
import { which } from './tools.ts'

export interface UserIds {
  uid: number
  gid: number
  /** Further groups it needs; none unless given. */
  groups?: number[]
}

export interface Users {
  vm: UserIds | null
  git: UserIds | null
  db: UserIds | null
}

export const USER_NAMES = { vm: 'hypeman-vm', git: 'hypeman-git', db: 'hypeman-db' } as const

export async function ensureUsers(): Promise<Users> {
  if (process.getuid?.() !== 0) return { vm: null, git: null, db: null }
  const users: Users = { vm: null, git: null, db: null }
  for (const [role, name] of Object.entries(USER_NAMES) as [keyof Users, string][]) {
    users[role] = (await findUser(name)) ?? (await makeUser(name))
  }
  const kvm = await kvmGroup()
  if (users.vm && kvm !== undefined) users.vm.groups = [kvm]
  return users
}

/** The users that exist, making none. */
export async function findUsers(): Promise<Users> {
  const users: Users = { vm: null, git: null, db: null }
  for (const [role, name] of Object.entries(USER_NAMES) as [keyof Users, string][]) {
    users[role] = (await findUser(name)) ?? null
  }
  return users
}

/** The group that may use /dev/kvm, when that is how this machine gives it away. */
async function kvmGroup(): Promise<number | undefined> {
  const device = await stat('/dev/kvm').catch(() => undefined)
  const isForGroup = device !== undefined && (device.mode & 0o060) === 0o060 && device.gid !== 0
  return isForGroup ? device.gid : undefined
}

async function findUser(name: string): Promise<UserIds | undefined> {
  const passwd = await readFile('/etc/passwd', 'utf8')
  const line = passwd.split('\n').find((entry) => entry.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  return uid && gid ? { uid: Number(uid), gid: Number(gid) } : undefined
}

async function makeUser(name: string): Promise<UserIds> {
  say(`system user ${name}`)
  const shell = ['--shell', '/usr/sbin/nologin']
  const made = await execa(
    (await which('useradd')) ?? 'useradd',
    ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', ...shell, name],
    { reject: false },
  )
  // Two set-ups may run at once; whoever came second finds the user there.
  const user = await findUser(name)
  if (!user) throw new Error(`could not make the system user ${name}: ${made.stderr}`)
  return user
}
