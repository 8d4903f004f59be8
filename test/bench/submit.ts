// Builds submitted per second over POST /builds, source archive included, beside the insert of such a row in a
// transaction of its own and nothing else.
import { Agent, type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { createId } from '@paralleldrive/cuid2'
import { pack } from 'tar-stream'
import { type BusyServer, startBusyServer } from './busy-server.ts'
import { percentile, perSecond, shortMs, table, times } from './figures.ts'

const BUILDS = 600
const AT_ONCE = [1, 10]

export async function run(): Promise<void> {
  const server = await startBusyServer()
  try {
    const body = form(await source())
    const out = [['at once', 'POST /builds', 'p50', 'p99', 'bare insert', 'ratio']]
    for (const atOnce of AT_ONCE) {
      const token = await server.process.token('bench', { tenant: `bench-${atOnce}` })
      const submit = submitter(`${server.process.url}/builds`, token, body)
      const ours = await measure(atOnce, submit)
      const plain = await measure(atOnce, () => insert(server))
      out.push([
        String(atOnce),
        perSecond(BUILDS, ours.ms),
        shortMs(percentile(ours.each, 0.5)),
        shortMs(percentile(ours.each, 0.99)),
        perSecond(BUILDS, plain.ms),
        times(plain.ms, ours.ms),
      ])
    }
    console.log(`${BUILDS} builds, ${body.length} bytes each`)
    console.log(table(out))
  } finally {
    await server.stop()
  }
}

async function measure(atOnce: number, once: () => Promise<void>) {
  const each: number[] = []
  let left = BUILDS
  const started = performance.now()
  const work = async () => {
    while (left > 0) {
      left -= 1
      const before = performance.now()
      await once()
      each.push(performance.now() - before)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return { ms: performance.now() - started, each }
}

async function source(): Promise<Buffer> {
  const archive = pack()
  archive.entry({ name: 'Dockerfile' }, 'FROM scratch\nCOPY hello /\n')
  archive.entry({ name: 'hello' }, 'hello\n'.repeat(1_000))
  archive.finalize()
  return buffer(archive)
}

function form(archive: Buffer): Buffer {
  const head = `--b\r\ncontent-disposition: form-data; name="source"; filename="source.tar"\r\n\r\n`
  return Buffer.concat([Buffer.from(head), archive, Buffer.from('\r\n--b--\r\n')])
}

function submitter(url: string, token: string, body: Buffer): () => Promise<void> {
  const agent = new Agent({ keepAlive: true })
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'multipart/form-data; boundary=b',
    'content-length': body.length,
  }
  return async () => {
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      request(url, { method: 'POST', agent, headers }, resolve).once('error', reject).end(body)
    })
    const answer = await buffer(reply)
    if (reply.statusCode !== 202) throw new Error(`${reply.statusCode}: ${answer}`)
  }
}

async function insert({ db }: BusyServer): Promise<void> {
  await db.transaction((trx) =>
    trx('builds').insert({
      id: createId(),
      tenant: 'bare',
      pusher: 'bench',
      request: '{}',
      source_key: 'sources/none',
      source_hash: '',
      source_bytes: 0,
    }),
  )
}
