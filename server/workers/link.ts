// The seam between a worker and the server role: what an attempt is given that only the server may make. In one
// process it is a call, from another machine it is HTTP.
import type { Socket } from 'node:net'
import type { MirrorNotes } from '../mirror/notes.ts'
import type { ClaimedBuild } from '../queue/claim.ts'
import type { FoundImage } from '../registry/find-image.ts'

export interface Grant {
  /** For this build alone, as long as its lease is held. */
  registryToken: string
  /** Those that are set, of those the build asks for. */
  secrets: ReadonlyMap<string, Buffer>
  /** Why they could not be read. */
  secretsError?: string | undefined
}

export type GiveGrant = (build: ClaimedBuild, signal: AbortSignal) => Promise<Grant>

/** The attempt gets nothing: it has lost its lease, or its worker may not build (any more). */
export class NotGranted extends Error {
  override name = 'NotGranted'
  readonly reason: 'lease_lost' | 'drain'

  constructor(reason: NotGranted['reason'], message: string) {
    super(message)
    this.reason = reason
  }
}

export interface ServerLink {
  /** Waits for a server that is away. Throws NotGranted; rejects with the signal's reason when that aborts. */
  grant: GiveGrant
  /** What a digest that a build has pushed stands for; waits for a server that is away, until the signal aborts. */
  findImage(
    repository: string,
    digest: string,
    asked: { registryToken: string; signal: AbortSignal },
  ): Promise<FoundImage | undefined>
  /** Serves the registry to a guest. */
  registryService(socket: Socket): void
  /** Registries that are read through the server's; what is said of that stays with the server's process. */
  mirrors: { hosts: readonly string[]; follow: MirrorNotes['follow'] }
  /** `host:port` under which people pull. */
  registryName(): string
  publicUrl(): string
  buildTimeoutSeconds: number
}
