// The pipeline with real rows and the real disks of builders, without machines: its guests are played.

import { createBuilderDisks } from '../../server/builders/disks.ts'
import type { Listener } from '../../server/db/listen.ts'
import type { Db } from '../../server/db/pool.ts'
import { claimNext } from '../../server/queue/claim.ts'
import type { Runner } from '../../server/runners/runner.ts'
import { silent } from './database.ts'
import { testParts } from './parts.ts'
import { quietPipeline } from './pipeline.ts'

export interface BuilderWorkerOptions {
  db: Db
  listener: Listener
  /** Where the disks are. */
  root: string
}

/** It is always the same worker, so a second one is the first after its restart. */
export async function makeBuilderWorker({ db, listener, root }: BuilderWorkerOptions) {
  const { mkfsExt4 } = await testParts()
  const given = { db, log: silent, root, worker: 'w', stamp: 'image', mkfsExt4 }
  const disks = createBuilderDisks(given)

  /** Claims the next build and runs it to its end; returns its id. */
  async function run(runner: Runner): Promise<string> {
    const pipeline = quietPipeline({ db, listener, runner, builderDisks: disks })
    const build = (await claimNext(db, 'w'))!
    await pipeline.run(build, new AbortController().signal)
    return build.id
  }

  return { disks, run }
}
