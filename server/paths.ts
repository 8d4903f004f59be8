// Where everything lies below the data folder and the private runtime folder. Names only; nothing is made here.
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type Paths = ReturnType<typeof pathsFor>

export function pathsFor(dataDir: string) {
  const run = runtimeDir(dataDir)
  return {
    dataDir,
    jwtSecret: join(dataDir, 'jwt-secret'),
    secretsKey: join(dataDir, 'secrets-key'),
    workerName: join(dataDir, 'worker-name'),
    database: join(dataDir, 'postgres'),
    repositories: join(dataDir, 'repositories'),
    objects: join(dataDir, 'objects'),
    /** Of object storage: what is on its way to a pod. */
    fetchedObjects: join(dataDir, 'fetched-objects'),
    fetchedLfsObjects: join(dataDir, 'fetched-lfs-objects'),
    registry: join(dataDir, 'registry'),
    /** What comes in from mirrored registries. */
    mirror: join(dataDir, 'mirror'),
    /** Copies of what unprivileged users must be able to read or execute. */
    staged: join(dataDir, 'staged'),
    pods: join(dataDir, 'pods'),
    builders: join(dataDir, 'builders'),
    run,
    lockSocket: join(run, 'server.sock'),
    databaseSocket: join(run, 'pg'),
    podRun: join(run, 'pods'),
    registryRun: join(run, 'registry'),
  }
}

/** Short, because unix socket paths end at 107 bytes; the same for one data folder at every start. */
function runtimeDir(dataDir: string): string {
  const key = createHash('sha256').update(dataDir).digest('hex').slice(0, 10)
  if (process.getuid?.() === 0) return `/run/hypeman-${key}`
  return join(tmpdir(), `hypeman-${process.getuid?.()}-${key}`)
}
