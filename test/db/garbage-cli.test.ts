// `npm run -s garbage` against a listening server with a real registry.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from '../../server/config.ts'
import { runGarbageCommand } from '../../server/garbage/cli.ts'
import { garbageRoutes } from '../../server/garbage/routes.ts'
import { createGarbage } from '../../server/garbage/service.ts'
import { givenApi } from '../helpers/api.ts'
import { givenDatabase, silent } from '../helpers/database.ts'
import { NO_GRACE } from '../helpers/garbage.ts'
import { givenHttp } from '../helpers/http.ts'
import { pushBlob, pushImage } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, registryAdmin } from '../helpers/registry.ts'

function configFor(url: string) {
  return readConfig({
    JWT_SECRET: 'a secret of the tests, long enough to be one',
    HOST: '0.0.0.0',
    PORT: new URL(url).port,
  })
}

async function saidBy(url: string, ...args: string[]): Promise<string> {
  let text = ''
  await runGarbageCommand(args, configFor(url), (more) => {
    text += more
  })
  return text
}

test('it says how many blobs there were and are, what was freed, and for how long writes were held', async (t) => {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream)
  const { db } = await givenDatabase(t)
  const garbage = createGarbage({ db, upstream, log: silent, graces: NO_GRACE })
  t.after(() => garbage.stop())
  const face = await givenHttp(t, () => garbageRoutes({ garbage }))
  const target = { url, repo: 'apps/acme/web', headers: bearer(await registryAdmin()) }
  await pushImage(target, 'main')
  await pushBlob(target, Buffer.alloc(5 * 1024, 'lost'))
  const said = await saidBy(face.url)
  assert.match(said, /^repositories: 1\nremoved: 0 manifests, 1 links, 0 uploads\n/)
  assert.match(said, /\nblobs: 4 before, 3 after; 5\.0 KiB freed\n/)
  assert.match(said, /\nwrites held: [\d.]+ ms, the longest [\d.]+ ms\n$/)
  const { blobs_before: before, stall_max_ms: longest } = JSON.parse(
    await saidBy(face.url, '--json'),
  )
  assert.equal(before, 3)
  assert.equal(typeof longest, 'number')
})

test('a server whose registry is elsewhere says so, and one that is not there is named', async (t) => {
  const { url } = await givenApi(t)
  await assert.rejects(saidBy(url), /\/admin\/garbage answered 409: .*REGISTRY_URL/)
  await assert.rejects(
    saidBy('http://localhost:1'),
    /127\.0\.0\.1:1\/admin\/garbage does not answer/,
  )
  await assert.rejects(saidBy(url, '--dry-run'), /Unknown option '--dry-run'/)
})
