// The one secret everything is derived from: JWT_SECRET, or one generated once into the data folder (0600).
// A file that holds too little is refused, never used: every token would be forgeable.
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

const SECRET_BYTES = 48
const SECRET_CHARACTERS_MIN = 32

export interface SecretOptions {
  configured: string | undefined
  file: string
}

export async function readSecret({ configured, file }: SecretOptions): Promise<string> {
  if (configured !== undefined) return configured
  const secret = await readGenerated(file, () => randomBytes(SECRET_BYTES).toString('base64url'))
  if (secret.length >= SECRET_CHARACTERS_MIN) return secret
  throw new Error(
    `${file} holds ${secret.length} characters, at least ${SECRET_CHARACTERS_MIN} are needed. Restore it, or remove it to get a new one (all tokens end then).`,
  )
}

/** What the file holds, without surrounding blanks; made with `make` when there is none, for its owner only. */
export async function readGenerated(file: string, make: () => string): Promise<string> {
  const known = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return (known ?? (await generate(file, make))).trim()
}

// Linked into place when it is whole and on disk, so that two processes that start together agree on the
// first one's and a power cut leaves no half of it.
async function generate(file: string, make: () => string): Promise<string> {
  await mkdir(dirname(file), { recursive: true })
  const temporary = `${file}.${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(`${make()}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await link(temporary, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(temporary, { force: true })
  }
  return readFile(file, 'utf8')
}
