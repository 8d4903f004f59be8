// The seam between builds and where their secrets are kept. A value is bytes, held in memory for one build
// and never written anywhere by whoever resolves it.

export interface SecretScope {
  tenant: string
  /** Absent for a build without an app. */
  appId?: string | undefined
}

export interface SecretProvider {
  /**
   * The values there are; an id that is not set is not in the map. Throws when a secret is set and can't be
   * had, so that no other provider's value takes its place.
   */
  resolve(ids: readonly string[], scope: SecretScope): Promise<Map<string, Buffer>>
}

/** Where no secrets are kept at all. */
export const noSecrets: SecretProvider = {
  async resolve() {
    return new Map()
  },
}

/** Each id from the first of the providers that has it. */
export function firstOf(providers: readonly SecretProvider[]): SecretProvider {
  return {
    async resolve(ids, scope) {
      const found = new Map<string, Buffer>()
      for (const provider of providers) {
        const missing = ids.filter((id) => !found.has(id))
        if (missing.length === 0) break
        for (const [id, value] of await provider.resolve(missing, scope)) found.set(id, value)
      }
      return found
    },
  }
}
