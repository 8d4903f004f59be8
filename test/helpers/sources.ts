// Source archives and forms as a client of POST /builds makes them.
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import tar, { type Header } from 'tar-stream'
import type { Objects, StoredObject } from '../../server/objects/objects.ts'

export type Entry = [Partial<Header> & { name: string }, (string | Buffer)?]

export const DOCKERFILE: Entry = [{ name: 'Dockerfile' }, 'FROM scratch\n']

export async function tarOf(...entries: Entry[]): Promise<Buffer> {
  const pack = tar.pack()
  for (const [header, content] of entries) pack.entry(header, content ?? '')
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

export async function tarGzOf(...entries: Entry[]): Promise<Buffer> {
  return gzipSync(await tarOf(...entries))
}

/** Fields in this order; a Buffer is sent as a file. */
export function formOf(...fields: [string, string | Buffer][]): FormData {
  const form = new FormData()
  for (const [name, value] of fields) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, new Blob([new Uint8Array(value)]), 'source.tar.gz')
  }
  return form
}

export function post(...fields: [string, string | Buffer][]): RequestInit {
  return { method: 'POST', body: formOf(...fields) }
}

/** As an intake stores it that refuses nothing. */
export async function storeObject(
  objects: Objects,
  stream: AsyncIterable<Buffer>,
): Promise<StoredObject> {
  const { key, sha256, bytes, keep, discard } = await objects.stage(stream)
  try {
    await keep()
  } finally {
    await discard()
  }
  return { key, sha256, bytes }
}

/** For builds whose guest is played: it reads no source. */
export const noSource = async () => ({ path: '/dev/null', release: async () => {} })

/** Files of the stored source of a build, below a data folder. */
export async function sourceFiles(
  root: string,
  { sourceKey }: { sourceKey: string },
): Promise<Record<string, string>> {
  return filesOf(createReadStream(join(root, 'objects', `${sourceKey}.tar`)))
}

/** The same, from wherever it is stored. */
export async function storedFiles(
  { fetch }: Pick<Objects, 'fetch'>,
  { sourceKey }: { sourceKey: string },
): Promise<Record<string, string>> {
  const { path, release } = await fetch(sourceKey, AbortSignal.timeout(60_000))
  try {
    return await filesOf(createReadStream(path))
  } finally {
    await release()
  }
}

async function filesOf(archive: Readable): Promise<Record<string, string>> {
  const files: Record<string, string> = {}
  const extract = tar.extract()
  archive.pipe(extract)
  for await (const entry of extract) {
    const parts: Buffer[] = []
    for await (const part of entry) parts.push(part as Buffer)
    if (entry.header.type === 'file') files[entry.header.name] = Buffer.concat(parts).toString()
  }
  return files
}
