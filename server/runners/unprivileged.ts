// Starts a program with as little as possible: another user, no groups but the one that may open
// /dev/kvm, no capabilities, no way to get any,
// and killed by the kernel when the server dies. As a caller who is not root, what of this is possible.
import type { UserIds } from '../setup/users.ts'

export interface Command {
  file: string
  args: string[]
}

export function unprivileged(
  { setpriv, user }: { setpriv: string; user: UserIds | null },
  command: Command,
): Command {
  const drop = user
    ? [
        `--reuid=${user.uid}`,
        `--regid=${user.gid}`,
        user.groups?.length ? `--groups=${user.groups.join()}` : '--clear-groups',
        '--bounding-set=-all',
        '--inh-caps=-all',
        '--ambient-caps=-all',
      ]
    : []
  const args = ['--no-new-privs', '--pdeathsig=KILL', ...drop, '--', command.file, ...command.args]
  return { file: setpriv, args }
}
