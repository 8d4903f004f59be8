// Stand-ins for the internet on this machine: a web server, and a TLS registry that builds trust because its
// certificate is put into a builder image of the test's own.
import { once } from 'node:events'
import { cp, mkdtemp, readFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { removeFolder } from './folders.ts'
import { testParts } from './parts.ts'

export interface Web {
  port: number
  /** Paths asked for, in order. */
  requests: string[]
}

export async function givenWeb(t: TestContext, address: string): Promise<Web> {
  const answer: RequestListener = (_req, res) => res.end('payload from outside\n')
  return listen(t, address, (listener) => createServer(listener), answer)
}

export interface Certificate {
  certFile: string
  keyFile: string
}

export async function givenCertificate(
  t: TestContext,
  host: string,
  others: readonly string[] = [],
): Promise<Certificate> {
  const dir = await mkdtemp(join(tmpdir(), 'hm-cert-'))
  t.after(() => removeFolder(dir))
  const [certFile, keyFile] = [join(dir, 'cert.pem'), join(dir, 'key.pem')]
  const names = [host, ...others].map((name) => `DNS:${name}`).join(',')
  const subject = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=${names}`]
  const files = ['-keyout', keyFile, '-out', certFile]
  await execa('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    ...files,
  ])
  return { certFile, keyFile }
}

/** Serves the one image of an OCI layout under any name, read-only. */
export async function givenTlsRegistry(
  t: TestContext,
  address: string,
  layout: string,
  { certFile, keyFile }: Certificate,
): Promise<Web> {
  const dir = layout.replace(/:latest$/, '')
  const index = JSON.parse(await readFile(join(dir, 'index.json'), 'utf8'))
  const manifest: string = index.manifests[0].digest
  const tls = { cert: await readFile(certFile), key: await readFile(keyFile) }
  const answer: RequestListener = async (req, res) => {
    const digest = /sha256:[0-9a-f]{64}/.exec(req.url ?? '')?.[0] ?? manifest
    if (req.url === '/v2/') return res.end('{}')
    const body = await readFile(join(dir, 'blobs/sha256', digest.slice('sha256:'.length)))
    const isManifest = req.url?.includes('/manifests/')
    res.setHeader('content-length', body.length)
    res.setHeader('docker-content-digest', digest)
    const type = isManifest
      ? 'application/vnd.oci.image.manifest.v1+json'
      : 'application/octet-stream'
    res.setHeader('content-type', type)
    return res.end(req.method === 'HEAD' ? undefined : body)
  }
  return listen(t, address, (listener) => createTlsServer(tls, listener), answer)
}

/** The generic builder image with one more trusted certificate; `<layout>:latest`. */
export async function givenTrustingBuilder(
  t: TestContext,
  { certFile }: Certificate,
): Promise<string> {
  const parts = await testParts()
  const dir = await mkdtemp(join(tmpdir(), 'hm-builder-'))
  const layout = join(dir, 'layout')
  await cp(parts.builder.image.replace(/:latest$/, ''), layout, { recursive: true })
  const image = `${layout}:latest`
  const insert = ['insert', '--rootless', '--image', image, certFile, '/etc/ssl/certs/standin.pem']
  await execa(parts.umoci, insert)
  t.after(async () => {
    const index = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'))
    const key = index.manifests[0].digest.slice('sha256:'.length).slice(0, 16)
    // The disk made of it is of no use to anybody else.
    await removeFolder(join(parts.cacheDir, `builder-disk-${key}`))
    await removeFolder(`/var/cache/hypeman/builder-${key}`)
    await removeFolder(dir)
  })
  return image
}

async function listen(
  t: TestContext,
  address: string,
  create: (listener: RequestListener) => Server,
  answer: RequestListener,
): Promise<Web> {
  const requests: string[] = []
  const server = create((req, res) => {
    requests.push(req.url ?? '')
    void answer(req, res)
  })
  server.listen(0, address)
  await once(server, 'listening')
  t.after(() => server.close())
  return { port: (server.address() as AddressInfo).port, requests }
}
