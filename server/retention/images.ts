// Images that a policy does not keep: first their builds say that they are gone, then they go from the registry.
// A run that dies in between is ended by the next one.
import { publicationsOf } from '../builds/image-name.ts'
import { holding, publishLock } from '../db/advisory-lock.ts'
import type { Db } from '../db/pool.ts'
import type { RegistryClient } from '../registry/client.ts'
import { deleteOne } from './delete-one.ts'
import { createImageStore, type DoomedImage, type TenantImage } from './image-store.ts'
import { type ExpiredImage, expiredImages, type ImagePolicy } from './policy.ts'
import type { RetentionRun } from './report.ts'
import type { RetentionSettings } from './settings.ts'

export interface ImageRetentionOptions {
  db: Db
  registry: Pick<RegistryClient, 'deleteRepository' | 'deletePublished'>
  settings: Pick<RetentionSettings, 'keepImages' | 'imageDays' | 'uploadDays'>
}

export function createImageRetention({ db, registry, settings }: ImageRetentionOptions) {
  const store = createImageStore({ db })

  async function run(run: RetentionRun): Promise<void> {
    const { dryRun, report, signal } = run
    const reasons = new Map<string, string>()
    for await (const expired of decide()) {
      if (signal.aborted) return
      const ids = expired.map(({ id }) => id)
      const going = new Set(dryRun ? ids : await store.expire(ids))
      for (const { id, reason } of expired) if (going.has(id)) reasons.set(id, reason)
      if (!dryRun) continue
      for (const { id, reason } of expired) report.note({ kind: 'image', name: id, reason })
    }
    for (let last = ''; ; ) {
      const doomed = await store.doomed(last)
      if (doomed.length === 0) return
      last = doomed.at(-1)!.id
      for (const image of doomed) {
        if (signal.aborted) return
        const reason = reasons.get(image.id) ?? 'an earlier run did not come to its end'
        const noted = { kind: 'image' as const, name: image.id, reason }
        await deleteOne(run, noted, () => remove(image))
      }
    }
  }

  /** Group by group: apps, then what each tenant has uploaded, then what removed apps have left. */
  async function* decide(): AsyncGenerator<ExpiredImage[]> {
    const now = await store.now()
    for (const { id, retention } of await store.apps()) {
      const images = await store.ofApp(id)
      const refs = new Set(images.flatMap(({ line }) => (line === undefined ? [] : [line])))
      const endedLines = new Set(await store.endedRefs(id, [...refs]))
      const policy = {
        keepImages: retention?.keep_images ?? settings.keepImages,
        maxAgeDays: retention?.max_age_days ?? settings.imageDays,
      }
      yield expiredImages({ images, policy, endedLines, now })
    }
    const policy: ImagePolicy = { keepImages: undefined, maxAgeDays: settings.uploadDays }
    for (const images of byTenant(await store.uploads())) {
      yield expiredImages({ images, policy, endedLines: new Set(), now })
    }
    const left = await store.ofRemovedApps()
    yield left.map(({ id }) => ({ id, reason: 'its app was removed' }))
    const unready = await store.unready()
    yield unready.map(({ id }) => ({ id, reason: 'its build did not become ready' }))
  }

  /** All of it may be repeated. Returns the bytes its manifests name. */
  async function remove(image: DoomedImage): Promise<{ bytes: number }> {
    const { id, digest, attestations } = image
    for (const to of new Set(publicationsOf(image).map(({ repository }) => repository))) {
      await unpublish(to, digest)
    }
    const repo = `builds/${id}`
    const about = await store.referrersOf(repo)
    const roots = [...about, ...(attestations === undefined ? [] : [attestations]), digest]
    const { bytes } = await registry.deleteRepository(repo, roots)
    await store.markDeleted(id)
    return { bytes }
  }

  /** Nobody publishes into the repository meanwhile; a build that still has the image keeps it there. */
  async function unpublish(repo: string, digest: string): Promise<void> {
    await holding(db, publishLock(repo), async (trx) => {
      const ownTags: string[] = []
      for (const build of await store.sameImage(trx, digest)) {
        const there = publicationsOf(build).filter(({ repository }) => repository === repo)
        if (there.length > 0 && !build.isGone) return
        ownTags.push(...there.map(({ tag }) => tag))
      }
      const referrers = await store.referrersOf(repo, digest)
      const went = await registry.deletePublished({ repo, digest, ownTags, referrers })
      if (went.length > 0) await store.forgetReferrers(repo, went)
    })
  }

  return { run }
}

function byTenant(images: readonly TenantImage[]): TenantImage[][] {
  const groups = new Map<string, TenantImage[]>()
  for (const image of images) {
    const group = groups.get(image.tenant)
    if (group) group.push(image)
    else groups.set(image.tenant, [image])
  }
  return [...groups.values()]
}
