// Real S3-compatible storage on a free port: versitygw (an S3 gateway) over a folder, with one empty bucket.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Settings } from '../../server/objects/s3.ts'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { dropGoPath, goProgram } from '../../server/setup/parts/go.ts'

const VERSION = 'v1.8.0'
const START_DEADLINE_MS = 30_000

/** Built from Go modules when the cache lacks it. */
async function versitygw(): Promise<string> {
  const { cacheDir, assumeYes } = setupEnv()
  const cache = createCache(cacheDir)
  const dir = await goProgram(cache, createApt({ assumeYes }), {
    module: 'versitygw',
    version: VERSION,
    title: `versitygw ${VERSION} from Go modules, about 2 min, for tests only`,
    packages: ['github.com/versity/versitygw/cmd/versitygw'],
    ldflags: '',
  })
  await dropGoPath(cache)
  return join(dir, 'versitygw')
}

export interface ObjectStorage {
  settings: S3Settings
  /** Folder whose files are the bucket's objects. */
  bucketFolder: string
  /** Ends it, so that it answers nobody any more. */
  stop(): Promise<void>
}

export async function givenObjectStorage(t: TestContext): Promise<ObjectStorage> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-s3-'))
  const bucketFolder = join(dir, 'data/builds')
  await mkdir(bucketFolder, { recursive: true })
  const credentials = { accessKeyId: 'test-access', secretAccessKey: 'test-secret' }
  await mkdir(sidecar(dir))
  const port = await freePort()
  const child = spawn(
    await versitygw(),
    [
      '--port',
      `127.0.0.1:${port}`,
      '--quiet',
      'posix',
      '--sidecar',
      sidecar(dir),
      join(dir, 'data'),
    ],
    {
      stdio: 'ignore',
      env: {
        ROOT_ACCESS_KEY: credentials.accessKeyId,
        ROOT_SECRET_KEY: credentials.secretAccessKey,
      },
    },
  )
  const ended = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(async () => {
    await stop()
    await rm(dir, { recursive: true, force: true })
  })
  const endpoint = `http://127.0.0.1:${port}`
  await untilAnswers(endpoint, child)
  const settings = { bucket: 'builds', prefix: '', region: 'us-east-1', endpoint, credentials }
  return { settings, bucketFolder, stop }
}

const sidecar = (dir: string) => join(dir, 'meta')

async function untilAnswers(endpoint: string, child: { exitCode: number | null }): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS
  while (!(await fetch(endpoint).then(Boolean, () => false))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}`)
    if (Date.now() > deadline) throw new Error('versitygw does not answer')
    await sleep(50)
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
