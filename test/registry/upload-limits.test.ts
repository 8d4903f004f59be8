// What one token may hold of the registry by uploads that it begins, sends slowly, or never ends.
import assert from 'node:assert/strict'
import http from 'node:http'
import { type TestContext, test } from 'node:test'
import type { UploadLimits } from '../../server/registry/carry-upload.ts'
import { createOpenUploads } from '../../server/registry/open-uploads.ts'
import { digestOf, pushBlob } from '../helpers/oci.ts'
import { bearer, givenProxy, givenRegistry, listen, registryAdmin } from '../helpers/registry.ts'
import { until } from '../helpers/until.ts'

const REPO = 'apps/acme/web'

async function givenLimits(t: TestContext, uploadLimits: Partial<UploadLimits>) {
  const { upstream } = await givenRegistry(t)
  const { url } = await givenProxy(t, upstream, { uploadLimits })
  const headers = bearer(await registryAdmin())
  const begin = (as = headers) =>
    fetch(`${url}/v2/${REPO}/blobs/uploads/`, { method: 'POST', headers: as })
  const locationOf = (begun: Response) => new URL(begun.headers.get('location') ?? '', url)
  return { url, headers, begin, locationOf, target: { url, repo: REPO, headers } }
}

async function assertRefused(reply: Response, status: number, code: string, message: RegExp) {
  assert.equal(reply.status, status)
  const { errors } = (await reply.json()) as { errors: { code: string; message: string }[] }
  assert.equal(errors[0]?.code, code)
  assert.match(errors[0].message, message)
}

/** Says that there is more to come, and sends it when it is told to. */
async function startPatch(location: URL, headers: Record<string, string>) {
  const sent = http.request(location, { method: 'PATCH', headers })
  const replied = new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
  })
  sent.write('the first piece')
  return { sent, replied }
}

test('a token that never ends its uploads may begin so many, until it ends or cancels one', async (t) => {
  const { headers, begin, locationOf, target, url } = await givenLimits(t, { openPerToken: 3 })
  const begun = [await begin(), await begin(), await begin()].map(locationOf)
  const refused = /^3 uploads were begun with this token and not ended; end or cancel \(DELETE\)/
  await assertRefused(await begin(), 429, 'TOOMANYREQUESTS', refused)
  assert.equal((await begin(bearer(await registryAdmin()))).status, 202, 'another token')

  assert.equal((await fetch(begun[0]!, { method: 'DELETE', headers })).status, 204)
  const digest = await pushBlob(target, Buffer.from('ended at once, so it takes no place for long'))
  await pushBlob(target, Buffer.from('one more'))
  const last = locationOf(await begin())
  await assertRefused(await begin(), 429, 'TOOMANYREQUESTS', refused)
  last.searchParams.set('digest', digestOf('something else'))
  const wrong = await fetch(last, { method: 'PUT', headers, body: 'this' })
  assert.equal(wrong.status, 400, 'a blob that is not what it says is over as well')
  const mount = `${url}/v2/${REPO}/blobs/uploads/?mount=${digest}&from=${REPO}`
  assert.equal((await fetch(mount, { method: 'POST', headers })).status, 201)
  assert.equal((await begin()).status, 202, 'a mount begins nothing')
})

test('a token that is changed for others by /v2/token has no more uploads for that', async (t) => {
  const { url, headers, begin } = await givenLimits(t, { openPerToken: 1 })
  const session = async () => {
    const scope = `repository:${REPO}:push`
    const reply = await fetch(`${url}/v2/token?scope=${scope}`, { headers })
    return bearer(((await reply.json()) as { token: string }).token)
  }
  assert.equal((await begin(await session())).status, 202)
  assert.equal((await begin(await session())).status, 429)
})

for (const end of ['ends', 'goes away'] as const) {
  test(`a token may send so many blobs at once, and one more when one ${end}`, async (t) => {
    let arrived = 0
    const upstream = await listen(
      t,
      http.createServer((req, res) => {
        if (req.method === 'PATCH') arrived += 1
        req.resume().once('end', () => res.writeHead(req.method === 'GET' ? 204 : 202).end())
      }),
    )
    const { url } = await givenProxy(
      t,
      { kind: 'url', url: upstream, username: undefined, password: undefined },
      { uploadLimits: { atOncePerToken: 2 } },
    )
    const headers = bearer(await registryAdmin())
    const upload = (name: string) => new URL(`${url}/v2/${REPO}/blobs/uploads/${name}`)
    const first = await startPatch(upload('one'), headers)
    const second = await startPatch(upload('two'), headers)
    await until('both to be under way', () => arrived === 2)
    const begin = () => fetch(upload(''), { method: 'POST', headers })
    const refused = await begin()
    assert.equal(refused.headers.get('retry-after'), '5')
    await assertRefused(refused, 429, 'TOOMANYREQUESTS', /^2 uploads with this token are under way/)
    assert.equal((await fetch(upload('two'), { headers })).status, 204, 'to ask costs nothing')

    const over = end === 'ends' ? first.replied : assert.rejects(first.replied)
    if (end === 'ends') first.sent.end()
    else first.sent.destroy()
    await over
    await until('a place', async () => (await begin()).status === 202)
    second.sent.end()
    assert.equal((await second.replied).statusCode, 202)
  })
}

test('a blob that comes steadily but for ever is ended, and says why', async (t) => {
  const { headers, begin, locationOf } = await givenLimits(t, { deadlineMs: 600 })
  const { sent, replied } = await startPatch(locationOf(await begin()), headers)
  const drip = setInterval(() => sent.write('.'), 20)
  t.after(() => clearInterval(drip))
  const reply = await replied
  clearInterval(drip)
  sent.end()
  assert.equal(reply.statusCode, 408)
  const text = (await reply.toArray()).join('')
  assert.match(
    text,
    /"BLOB_UPLOAD_INVALID","message":"the data of the blob was not here after 0.01 min/,
  )
})

test('an upload that nobody goes on with is forgotten after its time, one that somebody does is not', () => {
  let now = 0
  const open = createOpenUploads({ perTokenMax: 2, idleMs: 100, now: () => now })
  open.began('left', open.take('ada'))
  open.began('in use', open.take('ada'))
  assert.throws(() => open.take('ada'), { code: 'too_many_uploads' })
  now = 99
  open.wentOn('in use')
  assert.throws(() => open.take('ada'), { code: 'too_many_uploads' })
  now = 100
  const giveBack = open.take('ada')
  assert.throws(() => open.take('ada'), { code: 'too_many_uploads' })
  giveBack()
  now = 199
  open.take('ada')
  open.take('ada')
})
