// SQL over `builds` about their images: which there are, which go, which are gone.
import type { AppRetention } from '../apps/schema.ts'
import type { PublishedBuild } from '../builds/image-name.ts'
import type { Db, Queryable } from '../db/pool.ts'
import { rows } from '../db/pool.ts'
import { ZERO_OID } from '../git/pkt-line.ts'
import { ORPHAN_GRACE_HOURS, RETENTION_BATCH_ROWS } from '../limits.ts'
import { forgetRepository } from './forget-repository.ts'
import type { ImageFacts } from './policy.ts'

const PRESENT = `status = 'ready' and image_expired_at is null`
const UNREADY = `status in ('failed', 'cancelled') and image_digest is not null and image_expired_at is null`
const PUBLISHED = `tenant, app, ref, request->>'image_name' as image_name`

export interface AppWithImages {
  id: string
  retention: AppRetention | undefined
}

/** Of a build; `tenant` is whose it is. */
export type TenantImage = ImageFacts & { tenant: string }

export interface DoomedImage extends PublishedBuild {
  id: string
  digest: string
  attestations: string | undefined
}

/** A build with the same image. */
export type SameImage = PublishedBuild & { isGone: boolean }

export function createImageStore({ db }: { db: Db }) {
  async function images(
    condition: string,
    bindings: object = {},
    which = PRESENT,
  ): Promise<TenantImage[]> {
    const found = await rows<ImageRow>(
      db,
      `select id, tenant, app, ref, request->>'image_name' as image_name, created_at, completed_at,
         (select pulled_at from repository_use where repo = 'builds/' || builds.id) as pulled_at,
         exists (
           select from branch_images
           where branch_images.app_id = builds.app_id and branch_images.ref = builds.ref
             and build_id = builds.id
         ) as is_branch_image
       from builds
       where ${which} and ${condition}`,
      { ...bindings },
    )
    return found.map(toImage)
  }

  return {
    async now(): Promise<Date> {
      const [row] = await rows<{ now: Date }>(db, 'select clock_timestamp() as now')
      return row!.now
    },

    apps: (): Promise<AppWithImages[]> =>
      rows<AppWithImages>(
        db,
        `select id, settings->'retention' as retention from apps
         where exists (select from builds where app_id = apps.id and ${PRESENT})
         order by id`,
      ),

    ofApp: (appId: string) => images('app_id = :appId', { appId }),

    /** Of builds that never had an app. */
    uploads: () => images('app_id is null and app is null'),

    /** Of builds that did not become ready after all; their ends may still be written. */
    unready: () =>
      images(
        `completed_at < clock_timestamp() - :hours * interval '1 hour'`,
        { hours: ORPHAN_GRACE_HOURS },
        UNREADY,
      ),

    /** Of builds whose app was removed. */
    ofRemovedApps: () => images('app_id is null and app is not null'),

    /** Of some refs of an app those that were deleted. */
    async endedRefs(appId: string, refs: readonly string[]): Promise<string[]> {
      const ended = await rows<{ ref: string }>(
        db,
        `select ref from unnest(cast(:refs as text[])) as ref
         where (
           select new_sha from pushes where app_id = :appId and pushes.ref = ref.ref
           order by seq desc limit 1
         ) = :zeros`,
        { appId, refs: [...refs], zeros: ZERO_OID },
      )
      return ended.map(({ ref }) => ref)
    },

    /** From now on the builds say that their images are gone. Returns those that said it only now. */
    async expire(ids: readonly string[]): Promise<string[]> {
      const marked: string[] = []
      for (let n = 0; n < ids.length; n += RETENTION_BATCH_ROWS) {
        const found = await rows<{ id: string }>(
          db,
          `update builds set image_expired_at = clock_timestamp()
           where id = any(:ids) and ((${PRESENT}) or (${UNREADY})) returning id`,
          { ids: ids.slice(n, n + RETENTION_BATCH_ROWS) },
        )
        marked.push(...found.map(({ id }) => id))
      }
      return marked
    },

    /** Those that are said to be gone and are not yet, after an id. */
    async doomed(after: string): Promise<DoomedImage[]> {
      const found = await rows<DoomedRow>(
        db,
        `select id, ${PUBLISHED}, image_digest,
           provenance->>'attestations_digest' as attestations
         from builds
         where image_expired_at is not null and image_deleted_at is null and id > :after
         order by id
         limit :limit`,
        { after, limit: RETENTION_BATCH_ROWS },
      )
      return found.map((row) => ({
        ...toPublished(row),
        id: row.id,
        digest: row.image_digest,
        attestations: row.attestations ?? undefined,
      }))
    },

    async markDeleted(id: string): Promise<void> {
      await db.transaction(async (trx) => {
        await trx('builds')
          .where({ id })
          .update({ image_deleted_at: trx.raw('clock_timestamp()') })
        await forgetRepository(trx, `builds/${id}`)
      })
    },

    /** Builds whose image has this digest, also those that are just being published. */
    async sameImage(from: Queryable, digest: string): Promise<SameImage[]> {
      const found = await rows<PublishedRow & { is_gone: boolean }>(
        from,
        `select ${PUBLISHED}, image_expired_at is not null as is_gone
         from builds
         where image_digest = ?
           and (image_expired_at is not null or status in ('ready', 'pushing'))`,
        [digest],
      )
      return found.map((row) => ({ ...toPublished(row), isGone: row.is_gone }))
    },

    async referrersOf(repo: string, subject?: string): Promise<string[]> {
      const where = subject === undefined ? { repo } : { repo, subject }
      return db('referrers').where(where).pluck('digest')
    },

    async forgetReferrers(repo: string, digests: readonly string[]): Promise<void> {
      await db('referrers')
        .where({ repo })
        .andWhere((either) => either.whereIn('subject', digests).orWhereIn('digest', digests))
        .delete()
    },
  }
}

interface ImageRow {
  id: string
  tenant: string
  app: string | null
  ref: string | null
  image_name: string | null
  created_at: Date
  completed_at: Date
  pulled_at: Date | null
  is_branch_image: boolean
}

interface PublishedRow {
  tenant: string
  app: string | null
  ref: string | null
  image_name: string | null
}

interface DoomedRow extends PublishedRow {
  id: string
  image_digest: string
  attestations: string | null
}

function toPublished(row: PublishedRow): PublishedBuild {
  return {
    tenant: row.tenant,
    app: row.app ?? undefined,
    ref: row.ref ?? undefined,
    imageName: row.image_name ?? undefined,
  }
}

/** A branch of its app, else the repository it was published in: a branch elsewhere says nothing here. */
function toImage(row: ImageRow): TenantImage {
  const ref = row.app === null ? null : row.ref
  return {
    id: row.id,
    tenant: row.tenant,
    line: ref ?? row.image_name?.split(':')[0],
    isBranchImage: row.is_branch_image,
    createdAt: row.created_at,
    completedAt: row.completed_at,
    pulledAt: row.pulled_at ?? undefined,
  }
}
