// Whose storage it is: two installations in one place would delete each other's objects.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DeleteObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { below, type ObjectsLocation, openObjects } from '../../../server/objects/location.ts'
import { claimObjects, requireOwner } from '../../../server/objects/owner.ts'
import { silent } from '../../helpers/database.ts'
import { givenObjectStorage } from '../../helpers/object-storage.ts'

interface Place {
  location: ObjectsLocation
  /** As people write it. */
  shown: string
  /** As a person would delete it. */
  removeMarker(): Promise<unknown>
}

const PLACES: Record<string, (dir: string, t: TestContext) => Promise<Place>> = {
  async 'a folder'(dir) {
    const path = join(dir, 'objects')
    const removeMarker = () => rm(join(path, 'installation'))
    return { location: { kind: 'folder', path }, shown: path, removeMarker }
  },
  async 'a bucket'(_, t) {
    const { settings } = await givenObjectStorage(t)
    const location = { kind: 's3' as const, ...settings, prefix: 'prod/' }
    const { region, endpoint, credentials } = settings
    const client = new S3Client({
      region,
      endpoint: endpoint!,
      credentials: credentials!,
      forcePathStyle: true,
    })
    t.after(() => client.destroy())
    const marker = { Bucket: settings.bucket, Key: 'prod/installation' }
    const removeMarker = () => client.send(new DeleteObjectCommand(marker))
    return { location, shown: 's3://builds/prod', removeMarker }
  },
}

for (const [place, make] of Object.entries(PLACES)) {
  test(`${place} of another installation is refused with its name and what to do, and is free when its marker is gone`, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'hm-owner-'))
    t.after(() => rm(dir, { recursive: true, force: true }))
    const { location, shown, removeMarker } = await make(dir, t)
    const temporary = join(dir, 'temporary')
    const { objects, close } = await openObjects(location, { temporary, log: silent })
    t.after(close)
    const as = (installation: string) => ({ objects, location, installation })

    await assert.rejects(
      requireOwner(as('one')),
      /is not where this installation \(one\) .* has no/,
    )
    await claimObjects(as('one'))
    await claimObjects(as('one'))
    await requireOwner(as('one'))
    await assert.rejects(claimObjects(as('two')), (error: Error) => {
      assert.ok(error.message.includes(`OBJECTS: ${shown} is of another installation (one;`))
      assert.ok(error.message.includes(`delete ${shown}/installation and start again`))
      return true
    })
    await assert.rejects(requireOwner(as('two')), /\(two\) keeps its objects: it is of another/)
    // It is no object, and no leftover.
    assert.deepEqual(await all(objects.list()), [])
    await objects.sweep()
    await claimObjects(as('one'))
    assert.deepEqual(await readdir(temporary).catch(() => []), [])

    await removeMarker()
    await claimObjects(as('two'))
    await requireOwner(as('two'))
  })

  test(`of installations that take ${place} at once, one gets it`, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'hm-owner-'))
    t.after(() => rm(dir, { recursive: true, force: true }))
    const { location: at } = await make(dir, t)
    for (let round = 0; round < 20; round += 1) {
      const location = below(at, `round${round}`)
      const names = ['a', 'b', 'c', 'd']
      const opened = await Promise.all(
        names.map((name) => openObjects(location, { temporary: join(dir, name), log: silent })),
      )
      const claims = opened.map(({ objects }, n) =>
        claimObjects({ objects, location, installation: names[n]! }),
      )
      const settled = await Promise.allSettled(claims)
      for (const { close } of opened) close()
      assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
    }
  })
}

test('the place of git-lfs objects has a marker of its own: no other prefix may lead there', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'hm-owner-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const location = below({ kind: 'folder', path: dir }, 'lfs')
  const { objects } = await openObjects(location, { temporary: dir, log: silent })
  await claimObjects({ objects, location, installation: 'one' })
  const other = { kind: 'folder' as const, path: join(dir, 'lfs') }
  const opened = await openObjects(other, { temporary: dir, log: silent })
  const claim = { objects: opened.objects, location: other, installation: 'two' }
  await assert.rejects(claimObjects(claim), /of another installation/)
})

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
