// apt: installs packages, asking first where somebody can answer. What goes wrong names its repair.
import { createInterface } from 'node:readline/promises'
import { execa } from 'execa'
import { reasonOf, SetupError, say, secondsSince } from './cache.ts'

const UPDATE_DEADLINE_MS = 600_000
const INSTALL_DEADLINE_MS = 1_800_000
/** Another apt may be at work: fresh machines install their updates by themselves. */
const APT_OPTIONS = ['-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300']

export interface Apt {
  /** Brings the package index up to date, once. */
  update(): Promise<void>
  /** Whether the package index of this machine has a package. */
  has(name: string): Promise<boolean>
  install(names: string[]): Promise<void>
}

export function createApt({ assumeYes }: { assumeYes: boolean }): Apt {
  let updated: Promise<void> | undefined
  const apt: Apt = {
    update() {
      // A source that cannot be reached must not stop those that can; what is then missing says so itself.
      updated ??= asRoot(['apt-get', 'update', '-qq'], UPDATE_DEADLINE_MS).catch((error: unknown) =>
        say(`apt-get update: ${reasonOf(error)}`),
      )
      return updated
    },
    async has(name) {
      await apt.update()
      const { stdout } = await execa('apt-cache', ['policy', name], { reject: false })
      return /Candidate: (?!\(none\))/.test(stdout)
    },
    async install(names) {
      const shown = `${isRoot() ? '' : 'sudo '}apt-get install --no-install-recommends ${names.join(' ')}`
      if (!assumeYes)
        await ask(`These Debian packages are needed:\n  ${shown}\nInstall them? [Y/n] `)
      say(`Debian packages ${names.join(' ')}${isRoot() ? '' : ', through sudo'} …`)
      const started = performance.now()
      await apt.update()
      const command = [
        'env',
        'DEBIAN_FRONTEND=noninteractive',
        'apt-get',
        'install',
        ...APT_OPTIONS,
      ]
      await asRoot([...command, ...names], INSTALL_DEADLINE_MS).catch((error: unknown) => {
        throw new SetupError(`Debian packages could not be installed: ${reasonOf(error)}`, shown)
      })
      say(`Debian packages installed in ${secondsSince(started)}`)
    },
  }
  return apt
}

/** For a look only: nothing is fetched or installed. */
export const lookOnlyApt: Apt = {
  async update() {
    throw new SetupError('not set up yet', 'npm run setup')
  },
  async has() {
    return false
  },
  async install(names) {
    throw new SetupError(`Debian packages are missing: ${names.join(' ')}`, 'npm run setup')
  },
}

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Runs a command as root: directly, or through sudo, which may ask for a password on the terminal. */
export async function asRoot(command: string[], timeout: number): Promise<void> {
  const [file = '', ...args] = isRoot() ? command : ['sudo', ...command]
  await execa(file, args, { stdin: 'inherit', timeout })
}

async function ask(question: string): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-C and Ctrl-D are a no; without this the question would never be answered.
  const left = new AbortController()
  for (const event of ['SIGINT', 'close']) terminal.once(event, () => left.abort())
  const answer = await terminal.question(question, { signal: left.signal }).catch(() => 'no')
  terminal.close()
  if (!/^(y(es)?)?$/i.test(answer.trim())) {
    throw new SetupError('stopped: the packages were not installed. Start again to be asked again.')
  }
}
