// The key of the stored secrets: SECRETS_KEY, or one generated once into the data folder (0600).
import { randomBytes } from 'node:crypto'
import { readGenerated } from '../auth/secret.ts'

const KEY_BYTES = 32

/** 32 bytes as 64 hexadecimal digits, or as base64 in either alphabet; undefined for anything else. */
export function parseSecretsKey(text: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined
  return Buffer.from(text, 'base64')
}

export interface SecretsKeyOptions {
  configured: Buffer | undefined
  file: string
}

export async function readSecretsKey({ configured, file }: SecretsKeyOptions): Promise<Buffer> {
  if (configured !== undefined) return configured
  const text = await readGenerated(file, () => randomBytes(KEY_BYTES).toString('base64url'))
  const key = parseSecretsKey(text)
  if (key) return key
  throw new Error(
    `${file} does not hold a key of ${KEY_BYTES} bytes. Restore it, or remove it to get a new one (stored secrets must then be set again).`,
  )
}
