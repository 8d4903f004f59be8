// Secrets at rest: AES-256-GCM, a fresh nonce for each sealing, and the app and id a value belongs to as
// associated data, so that a row moved to another app or another name does not open.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'

const ALGORITHM = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_ID_CHARACTERS = 16

export interface SealedSecret {
  /** Which key sealed it: what a rotation looks for. */
  keyId: string
  nonce: Buffer
  /** The ciphertext, and the tag after it. */
  sealed: Buffer
}

export interface SecretOwner {
  appId: string
  id: string
}

export type SecretCipher = ReturnType<typeof createSecretCipher>

export function createSecretCipher(key: Buffer) {
  const keyId = createHash('sha256')
    .update('hypeman secrets key\0')
    .update(key)
    .digest('hex')
    .slice(0, KEY_ID_CHARACTERS)

  return {
    seal(owner: SecretOwner, value: Buffer): SealedSecret {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(dataOf(owner))
      const sealed = Buffer.concat([cipher.update(value), cipher.final(), cipher.getAuthTag()])
      return { keyId, nonce, sealed }
    },

    /** Throws with a sentence, without a value, when another key sealed it or it was changed. */
    open(owner: SecretOwner, { keyId: sealedBy, nonce, sealed }: SealedSecret): Buffer {
      if (sealedBy !== keyId) {
        throw new Error(
          `the secret ${owner.id} was sealed with the key ${sealedBy} and the server has the key ${keyId}: restore SECRETS_KEY, or set the secret again`,
        )
      }
      try {
        const options = { authTagLength: TAG_BYTES }
        const decipher = createDecipheriv(ALGORITHM, key, nonce, options).setAAD(dataOf(owner))
        decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
        const text = decipher.update(sealed.subarray(0, -TAG_BYTES))
        return Buffer.concat([text, decipher.final()])
      } catch {
        throw new Error(`the secret ${owner.id} is damaged in the database: set it again`)
      }
    },
  }
}

/** Neither part can hold a NUL, so no two owners share it. */
function dataOf({ appId, id }: SecretOwner): Buffer {
  return Buffer.from(`hypeman app secret\0${appId}\0${id}`)
}
