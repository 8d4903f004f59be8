// Builds that have ended, with images in a real registry, and days that have gone by.
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NewBuild } from '../../server/builds/store.ts'
import type { Db } from '../../server/db/pool.ts'
import { createRegistryClient } from '../../server/registry/client.ts'
import { createRepositoryUse, type RepositoryUse } from '../../server/registry/repository-use.ts'
import {
  createReport,
  type ReportResult,
  type RetentionRun,
} from '../../server/retention/report.ts'
import type { RetentionSettings } from '../../server/retention/settings.ts'
import { givenBuild } from './builds.ts'
import { givenDatabase, silent, type TestDatabase } from './database.ts'
import { MANIFEST_TYPE, pushImage } from './oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from './registry.ts'

/** Nothing goes. */
export const KEEP_ALL: RetentionSettings = {
  keepImages: undefined,
  imageDays: undefined,
  uploadDays: undefined,
  buildDays: undefined,
  logDays: undefined,
  sourceDays: undefined,
  cacheDays: undefined,
}

export interface EndedBuild extends Partial<NewBuild> {
  days?: number
  status?: 'ready' | 'failed' | 'cancelled'
  digest?: string
  provenance?: object
}

/** A build that ended so many days ago. */
export async function givenEnded(db: Db, build: EndedBuild = {}): Promise<string> {
  const { days = 0, status = 'ready', digest, provenance, ...more } = build
  const { id } = await givenBuild(db, more)
  await db('builds')
    .where({ id })
    .update({
      status,
      created_at: db.raw(`clock_timestamp() - ? * interval '1 day'`, [days]),
      completed_at: db.raw(`clock_timestamp() - ? * interval '1 day'`, [days]),
      image_digest: digest ?? null,
      provenance: provenance ? JSON.stringify(provenance) : null,
      ...(status === 'failed' ? { failure_class: 'build' } : {}),
    })
  return id
}

/** Runs one part of the retention. */
export async function runPart(
  part: { run(run: RetentionRun): Promise<void> },
  { dryRun = false, signal = new AbortController().signal } = {},
): Promise<ReportResult> {
  const report = createReport({ log: silent, dryRun })
  await part.run({ dryRun, report, signal })
  return report.result()
}

export async function givenApp(db: Db, name: string, settings: object = {}): Promise<string> {
  const id = `app-${name}`
  await db('apps').insert({ id, tenant: 'acme', name, settings: JSON.stringify(settings) })
  return id
}

export interface TestImages extends TestDatabase {
  registry: ReturnType<typeof createRegistryClient>
  /** As the proxy writes it down. */
  use: RepositoryUse
  url: string
  headers: Record<string, string>
  /** Pushes an image under a tag and returns its digest. */
  push(repo: string, tag?: string): Promise<string>
  /** A ready build with its image, tagged as finish tags it. */
  built(id: string, build?: EndedBuild): Promise<string>
  /** `repo:tag` or `repo@digest`. */
  isThere(image: string): Promise<boolean>
}

export async function givenImages(t: TestContext): Promise<TestImages> {
  const database = await givenDatabase(t)
  const { upstream } = await givenRegistry(t)
  const use = createRepositoryUse({ db: database.db, log: silent })
  const { url } = await givenProxy(t, upstream, { use })
  t.after(() => use.settled())
  const headers = bearer(await registryAdmin())
  const registry = createRegistryClient({ upstream })
  const push = async (repo: string, tag = 'latest') =>
    (await pushImage({ url, repo, headers }, tag)).digest
  return {
    ...database,
    registry,
    use,
    url,
    headers,
    push,
    async built(id, build = {}) {
      const digest = build.digest ?? (await push(`builds/${id}`))
      await givenEnded(database.db, { id, ...build, digest })
      const name = build.request?.image_name
      if (name === undefined) return digest
      const [to = '', tag = 'latest'] = name.split(':')
      await registry.publish({ from: `builds/${id}`, digest, to, tag })
      return digest
    },
    async isThere(image) {
      const [, repo, reference] = /^(.*?)[@:](.*)$/.exec(image) ?? []
      const accept = `${MANIFEST_TYPE}, application/vnd.oci.image.index.v1+json`
      const reply = await fetch(`${url}/v2/${repo}/manifests/${reference}`, {
        method: 'HEAD',
        headers: { ...headers, accept },
      })
      return reply.status === 200
    },
  }
}

/** Until somebody waits for a lock of this database. */
export async function untilSomebodyWaits(db: Db): Promise<void> {
  for (;;) {
    const { rows } = await db.raw(
      `select from pg_locks
       where not granted and database = (select oid from pg_database where datname = current_database())`,
    )
    if (rows.length > 0) return
    await sleep(10)
  }
}
