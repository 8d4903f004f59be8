// PUT of a manifest: read as a whole (it is small), passed on, and recorded when it refers to another one.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MANIFEST_BYTES_MAX } from '../limits.ts'
import { readBody } from './body.ts'
import { forward } from './forward.ts'
import { wrongLink } from './manifest-links.ts'
import { type RepoRoute, routePath } from './names.ts'
import { referrerOf } from './referrer.ts'
import type { ReferrerStore } from './referrer-store.ts'
import { replyOci } from './replies.ts'
import type { RepositoryUse } from './repository-use.ts'
import type { RegistryUpstream } from './upstream.ts'

export interface ManifestPutOptions {
  upstream: RegistryUpstream
  referrers: Pick<ReferrerStore, 'record'>
  use: Pick<RepositoryUse, 'pushed'>
}

export function createManifestPut({ upstream, referrers, use }: ManifestPutOptions) {
  return async (
    req: IncomingMessage,
    res: ServerResponse,
    route: Extract<RepoRoute, { kind: 'manifest' }>,
  ): Promise<void> => {
    const body = await readBody(req, MANIFEST_BYTES_MAX)
    if (!body) {
      res.setHeader('connection', 'close')
      const message = `the manifest is over ${MANIFEST_BYTES_MAX} bytes`
      return replyOci(res, 413, 'SIZE_INVALID', message)
    }
    const wrong = wrongLink(body)
    if (wrong !== undefined) return replyOci(res, 400, 'MANIFEST_INVALID', wrong)
    const contentType = req.headers['content-type'] ?? ''
    // Recorded before the client hears of it, so that what is pushed is listed.
    const onReply = async (reply: IncomingMessage): Promise<Record<string, string>> => {
      const digest = reply.headers['docker-content-digest']
      if (reply.statusCode !== 201) return {}
      use.pushed(route.repo)
      if (typeof digest !== 'string') return {}
      const referrer = referrerOf(body, { digest, contentType })
      if (!referrer) return {}
      await referrers.record(route.repo, referrer)
      return { 'oci-subject': referrer.subject }
    }
    await forward(upstream, req, res, {
      path: routePath(route),
      keepsContentType: true,
      body,
      onReply,
    })
  }
}
