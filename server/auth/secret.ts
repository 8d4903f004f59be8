// The one secret everything is derived from: JWT_SECRET, or one generated once into the data folder (0600).
import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

const SECRET_BYTES = 48

export interface SecretOptions {
  configured: string | undefined
  file: string
}

export async function readSecret({ configured, file }: SecretOptions): Promise<string> {
  if (configured !== undefined) return configured
  const known = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return known?.trim() || generate(file)
}

// Linked into place, so that two processes that start together agree on the first one's.
async function generate(file: string): Promise<string> {
  await mkdir(dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}`
  await writeFile(temporary, `${randomBytes(SECRET_BYTES).toString('base64url')}\n`, {
    mode: 0o600,
  })
  await link(temporary, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(temporary)
  return (await readFile(file, 'utf8')).trim()
}
