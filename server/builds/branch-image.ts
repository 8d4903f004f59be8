// The image of a branch, `apps/<tenant>/<app>:<branch>`, is that of its newest push that is ready. Which push that is
// stands in a row before the tag moves, so a build that ends late moves nothing back, also after a crash in between.
import { type Db, type Queryable, rows } from '../db/pool.ts'
import { branchImageName, type ImageName } from './image-name.ts'
import { type BuildRow, toBuild } from './store.ts'

/** Where the image of a build goes; undefined unless a push of a branch has made it. */
export function branchImageOf(build: BuildRow): ImageName | undefined {
  if (build.appId === undefined || build.pushId === undefined) return undefined
  return branchImageName(build)
}

/** Moves the tag unless a newer push has done so; returns whether it is this build's. May be repeated. */
export async function moveBranch(
  db: Db,
  build: BuildRow,
  move: () => Promise<void>,
): Promise<boolean> {
  await db.raw(
    `insert into branch_images as known (app_id, ref, push_seq, build_id, digest)
     select app_id, ref, seq, :id, :digest from pushes where id = :pushId
     on conflict (app_id, ref) do update
     set push_seq = excluded.push_seq, build_id = excluded.build_id, digest = excluded.digest,
         published_at = null
     where known.push_seq < excluded.push_seq`,
    { id: build.id, digest: build.imageDigest!, pushId: build.pushId! },
  )
  // The lock keeps an older move that is under way from ending after a newer one.
  return db.transaction(async (trx) => {
    const mine = { app_id: build.appId, ref: build.ref, build_id: build.id }
    const row = await trx('branch_images').where(mine).forUpdate().first('published_at')
    if (!row) return false
    if (row.published_at === null) {
      await move()
      await trx('branch_images')
        .where(mine)
        .update({ published_at: trx.raw('clock_timestamp()') })
    }
    return true
  })
}

/** For a build that failed after all: the branch goes back to its newest push that is ready. */
export async function giveUpBranch(trx: Queryable, { id, appId, ref }: BuildRow): Promise<void> {
  const mine = { app_id: appId ?? null, ref: ref ?? null, build_id: id }
  const gone = await trx('branch_images').where(mine).delete()
  if (gone === 0) return
  // Where its tag has not moved yet, because this build stood before it, published_at is absent: see unpublished().
  await trx.raw(
    `insert into branch_images (app_id, ref, push_seq, build_id, digest, published_at)
     select b.app_id, b.ref, p.seq, b.id, b.image_digest,
            case when b.published_as is not null then b.completed_at end
     from builds b
     join pushes p on p.id = b.push_id
     where b.app_id = :app_id and b.ref = :ref and b.status = 'ready' and b.image_expired_at is null
     order by p.seq desc
     limit 1`,
    mine,
  )
}

/** Builds that are ready and their branch's image, and whose tag has yet to move. */
export async function unpublished(db: Db): Promise<BuildRow[]> {
  const found = await rows<Record<string, unknown>>(
    db,
    `select builds.* from branch_images
     join builds on builds.id = build_id
     where published_at is null and builds.status = 'ready' and image_expired_at is null`,
  )
  return found.map(toBuild)
}
