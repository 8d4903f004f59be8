// Programs built from pinned Go modules (images/tools/*/go.mod + go.sum). A Go new enough to fetch the tool
// chain that a module asks for is used as found; an older one (Debian 12's) fetches the tool chain, which
// is a Go module too, checked against the sum below.
import { chmod, cp, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { type Cache, SetupError } from '../cache.ts'
import type { Apt } from '../debian.ts'
import { which } from '../tools.ts'

const TOOLCHAIN_VERSION = '1.26.8'
const TOOLCHAIN = `golang.org/toolchain@v0.0.1-go${TOOLCHAIN_VERSION}.linux-amd64`
const TOOLCHAIN_SUM = 'h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM='
/** The first Go that downloads newer tool chains by itself. */
const GO_MINOR_MIN = 21
const DEADLINE_MS = 1_800_000

export interface GoProgram {
  /** Name of the part and of its folder below images/tools. */
  module: string
  version: string
  title: string
  packages: string[]
  ldflags: string
}

/** Folder with the program's binaries. */
export function goProgram(cache: Cache, apt: Apt, program: GoProgram): Promise<string> {
  return cache.part({
    name: program.module,
    version: program.version,
    title: program.title,
    repair: 'npm run setup',
    build: (into) => build(cache, apt, program, into),
  })
}

async function build(cache: Cache, apt: Apt, program: GoProgram, into: string): Promise<void> {
  const go = await findGo(cache, apt)
  const work = join(into, '.module')
  const source = new URL(`../../../images/tools/${program.module}`, import.meta.url)
  await cp(fileURLToPath(source), work, { recursive: true })
  const flags = ['-trimpath', '-ldflags', `-s -w ${program.ldflags}`, '-o', `${into}/`]
  await execa(go.path, ['build', ...flags, ...program.packages], {
    cwd: work,
    env: {
      ...go.env,
      CGO_ENABLED: '0',
      // Writable, so that they can be removed again.
      GOFLAGS: '-mod=readonly -modcacherw',
      GOTOOLCHAIN: 'auto',
      GOWORK: 'off',
    },
    timeout: DEADLINE_MS,
  })
  await rm(work, { recursive: true })
}

export interface Go {
  path: string
  env: Record<string, string>
}

/** A Go that can build modules which ask for newer tool chains, and the environment it needs. */
export async function findGo(cache: Cache, apt: Apt): Promise<Go> {
  const found = await which('go')
  if (found && (await minorOf(found)) >= GO_MINOR_MIN) return { path: found, env: {} }
  const dir = await cache.part({
    name: 'go',
    version: TOOLCHAIN_VERSION,
    title: `Go ${TOOLCHAIN_VERSION} from the Go module proxy`,
    repair: 'npm run setup',
    build: async (into) => fetchToolchain(found ?? (await debianGo(apt)), into),
  })
  // The machine had no Go before, so modules and objects go into our cache, not into the user's home.
  const path = goPath(cache)
  return { path: join(dir, 'go/bin/go'), env: { GOPATH: path, GOCACHE: join(path, 'build') } }
}

const goPath = (cache: Cache) => join(cache.dir, 'go-path')

/** Modules and objects are 3 GB; once everything is built nobody asks for them again. */
export async function dropGoPath(cache: Cache): Promise<void> {
  await rm(goPath(cache), { recursive: true, force: true })
}

async function minorOf(go: string): Promise<number> {
  const { stdout } = await execa(go, ['version'], { env: { GOTOOLCHAIN: 'local' }, reject: false })
  return goMinor(stdout)
}

/** `go version go1.26.8 linux/amd64` → 26; 0 when it is no version. */
export function goMinor(output: string): number {
  return Number(/\bgo1\.(\d+)/.exec(output)?.[1] ?? 0)
}

async function debianGo(apt: Apt): Promise<string> {
  await apt.install(['golang-go'])
  const go = await which('go')
  if (!go) throw new SetupError('golang-go was installed but there is no go command')
  return go
}

async function fetchToolchain(go: string, into: string): Promise<void> {
  const modules = join(into, 'modules')
  await mkdir(modules)
  const { stdout } = await execa(go, ['mod', 'download', '-json', TOOLCHAIN], {
    cwd: into,
    env: { GOPATH: modules, GOFLAGS: '-modcacherw', GOTOOLCHAIN: 'local', GO111MODULE: 'on' },
    timeout: DEADLINE_MS,
  })
  const { Dir, Sum } = JSON.parse(stdout) as { Dir: string; Sum: string }
  if (Sum !== TOOLCHAIN_SUM) {
    throw new Error(`${TOOLCHAIN} has the sum ${Sum}, not ${TOOLCHAIN_SUM}: it was tampered with`)
  }
  await cp(Dir, join(into, 'go'), { recursive: true })
  await rm(modules, { recursive: true })
  // Files of a module come without their executable bits.
  for (const folder of ['bin', 'pkg/tool/linux_amd64']) {
    const path = join(into, 'go', folder)
    for (const name of await readdir(path).catch(() => [])) await chmod(join(path, name), 0o755)
  }
}
