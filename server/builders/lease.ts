// What the build that has a builder may write about it. Every statement carries the build's lease token: a
// builder that somebody else has by now, or that was pruned, changes nothing.
import { notify } from '../db/notices.ts'
import type { Db } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { BUILDER_SAVE_DEADLINE_MS } from '../limits.ts'
import { EMPTIED, RELEASED } from './busy.ts'

/** One state of a builder's disk; it never changes again. */
export interface Generation {
  name: string
  /** Only there its file lies. */
  worker: string
  /** What made it: another BuildKit may not understand it. */
  stamp: string
}

/** One that is to be the builder's. */
export interface NextGeneration extends Generation {
  /** What its file takes. */
  bytes: number
}

export interface HeldBuilder {
  id: string
  diskSizeGb: number
  generation: Generation | undefined
}

export type BuilderLease = ReturnType<typeof createBuilderLease>

export function createBuilderLease({ db, key, token }: { db: Db; key: string; token: string }) {
  const held = { key, lease_token: token }

  return {
    async read(): Promise<HeldBuilder | undefined> {
      const row = await db('builders').where(held).first()
      if (!row) return undefined
      const { generation: name, generation_worker: worker, generation_stamp: stamp } = row
      return {
        id: row.id,
        diskSizeGb: row.disk_size_gb,
        generation: name === null ? undefined : { name, worker, stamp },
      }
    },

    /** The builder stays taken beyond the build's own lease, while its disk is being saved. */
    async beginSave(): Promise<boolean> {
      const until = db.raw(`clock_timestamp() + ? * interval '1 ms'`, [BUILDER_SAVE_DEADLINE_MS])
      return (await db('builders').where(held).update({ saving_until: until })) > 0
    },

    /** Compare and swap: only on top of the generation it was cloned from. */
    async promote(base: string | undefined, next: NextGeneration): Promise<boolean> {
      const promoted = await rows(
        db,
        `update builders
         set generation = :name, generation_worker = :worker, generation_stamp = :stamp,
             generation_bytes = :bytes
         where key = :key and lease_token = :token and status = 'ready'
           and saving_until > clock_timestamp()
           and generation is not distinct from :base
         returning key`,
        { ...next, key, token, base: base ?? null },
      )
      return promoted.length > 0
    },

    /** A generation that turned out to be bad. */
    async drop(name: string): Promise<void> {
      const bad = { key, token, name }
      await db.raw(
        `update builders set ${EMPTIED}
         where key = :key and lease_token = :token and generation = :name`,
        bad,
      )
      notify(db, 'hypeman_builders', '')
    },

    /** Others may have it, and the workers hear of it. */
    async release(): Promise<void> {
      const freed = await rows(
        db,
        `update builders set ${RELEASED}
         where key = :key and lease_token = :token
           and not exists (select 1 from builds where lease_token = :token)
         returning key`,
        { key, token },
      )
      if (freed.length > 0) notify(db, 'hypeman_queue', '')
    },
  }
}
