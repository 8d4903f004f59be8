// Real S3-compatible storage on a free port: versitygw (an S3 gateway) over a folder, with one empty bucket.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Settings } from '../../server/objects/s3.ts'
import { createCache } from '../../server/setup/cache.ts'
import { createApt } from '../../server/setup/debian.ts'
import { setupEnv } from '../../server/setup/env.ts'
import { dropGoPath, goProgram } from '../../server/setup/parts/go.ts'
import { removeFolder } from './folders.ts'

const VERSION = 'v1.8.0'
const START_DEADLINE_MS = 60_000
const PORT_ATTEMPTS_MAX = 5

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
  const { child, endpoint } = await startGateway(dir, credentials)
  const ended = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(async () => {
    await stop()
    await removeFolder(dir)
  })
  const settings = { bucket: 'builds', prefix: '', region: 'us-east-1', endpoint, credentials }
  return { settings, bucketFolder, stop }
}

const sidecar = (dir: string) => join(dir, 'meta')

/** As a server or a worker is told of it. */
export function storageEnv(
  { bucket, region, endpoint = '', credentials }: S3Settings,
  prefix = 'prod',
): Record<string, string> {
  return {
    OBJECTS: `s3://${bucket}/${prefix}`,
    S3_ENDPOINT: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials?.accessKeyId ?? '',
    AWS_SECRET_ACCESS_KEY: credentials?.secretAccessKey ?? '',
  }
}

/** It can't be asked which port it took, so one is tried that nobody is given by chance. */
async function startGateway(
  dir: string,
  { accessKeyId, secretAccessKey }: NonNullable<S3Settings['credentials']>,
) {
  const program = await versitygw()
  const env = { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey }
  for (let attempt = 1; attempt <= PORT_ATTEMPTS_MAX; attempt += 1) {
    const address = `127.0.0.1:${randomInt(10_000, 30_000)}`
    const posix = ['posix', '--sidecar', sidecar(dir), join(dir, 'data')]
    const child = spawn(program, ['--port', address, '--quiet', ...posix], { stdio: 'ignore', env })
    const endpoint = `http://${address}`
    if (await answers(endpoint, child)) return { child, endpoint }
    child.kill('SIGKILL')
  }
  throw new Error(`versitygw did not start, ${PORT_ATTEMPTS_MAX} times`)
}

/** False when it has ended, as it does when the port is another's, or says nothing for long. */
async function answers(endpoint: string, child: ChildProcess): Promise<boolean> {
  const deadline = Date.now() + START_DEADLINE_MS
  while (child.exitCode === null && Date.now() < deadline) {
    const reply = await fetch(endpoint).catch(() => undefined)
    await reply?.body?.cancel()
    if (reply?.headers.get('server') === 'VERSITYGW') {
      await sleep(50)
      if (child.exitCode === null) return true
    }
    await sleep(50)
  }
  return false
}
