// An app's own secrets, for its builds.
import type { SecretCipher } from './cipher.ts'
import type { SecretProvider } from './provider.ts'
import type { SecretStore } from './store.ts'

export interface AppSecretsOptions {
  store: Pick<SecretStore, 'sealed'>
  cipher: SecretCipher
}

export function createAppSecrets({ store, cipher }: AppSecretsOptions): SecretProvider {
  return {
    async resolve(ids, { appId }) {
      if (appId === undefined) return new Map()
      const found = await store.sealed(appId, ids)
      return new Map([...found].map(([id, sealed]) => [id, cipher.open({ appId, id }, sealed)]))
    },
  }
}
