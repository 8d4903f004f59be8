// base_image_digest: the final stage's base is made to be this digest by BuildKit's source policy, whatever
// its tag points at; a Dockerfile that says another digest, or has no base, is refused before it is built.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { completeName, finalBase } from './base-image.ts'
import { DOCKERFILE_BYTES_MAX } from './limits.ts'
import type { BuildConfig } from './protocol.ts'

/** `policyFile` is absent when there is nothing to pin. */
export type Pinned = { ok: true; policyFile?: string } | { ok: false; error: string }

export function pinBase(config: BuildConfig, dockerfile: string, folder: string): Pinned {
  const wanted = config.base_image_digest
  if (wanted === undefined) return { ok: true }
  const wish = `base_image_digest is ${wanted}`
  let base: string
  try {
    base = finalBase({
      dockerfile: readDockerfile(dockerfile),
      target: config.target,
      buildArgs: config.build_args,
      platform: config.platform ?? nativePlatform(),
    })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return { ok: false, error: `${wish}, but the base image of the final stage is unclear: ${why}` }
  }
  if (base === 'scratch') {
    return {
      ok: false,
      error: `${wish}, but the final stage is FROM scratch and has no base image`,
    }
  }
  const { name, digest } = completeName(base)
  if (digest === undefined) return { ok: true, policyFile: writePolicy(folder, name, wanted) }
  if (digest === wanted) return { ok: true }
  return { ok: false, error: `${wish}, but the final stage is FROM ${name}@${digest}` }
}

/** What is wrong with what BuildKit used, or undefined. */
export function wrongBase(
  { base_image_digest: wanted }: Pick<BuildConfig, 'base_image_digest'>,
  used: string | undefined,
): string | undefined {
  if (wanted === undefined || used === wanted) return undefined
  return `base_image_digest is ${wanted}, but the image was built on ${used ?? 'no base image'}`
}

export function sourcePolicy(name: string, digest: string) {
  const identifier = `docker-image://${name}`
  return {
    version: 1,
    rules: [
      {
        action: 'CONVERT',
        selector: { identifier, matchType: 'EXACT' },
        updates: { identifier: `${identifier}@${digest}` },
      },
    ],
  }
}

function writePolicy(folder: string, name: string, digest: string): string {
  const file = `${folder}/source-policy.json`
  writeFileSync(file, JSON.stringify(sourcePolicy(name, digest)), { mode: 0o600 })
  return file
}

function readDockerfile(file: string): string {
  const { size } = statSync(file)
  if (size > DOCKERFILE_BYTES_MAX) throw new Error(`a Dockerfile of ${size} bytes is too long`)
  return readFileSync(file, 'utf8')
}

function nativePlatform(): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  return `linux/${arch}`
}
