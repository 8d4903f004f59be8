// POST /builds: a build without git.
import { z } from 'zod'
import { json, route } from '../http/route.ts'
import { SubmitForm, SubmitJson } from './form.ts'
import { readIdempotencyKey } from './idempotency.ts'
import { Build } from './schema.ts'
import type { Builds } from './service.ts'
import type { Submissions } from './submit.ts'

export interface SubmitRouteOptions {
  builds: Builds
  submissions: Submissions
}

export function submitRoute({ builds, submissions }: SubmitRouteOptions) {
  return route({
    id: 'createBuild',
    method: 'post',
    path: '/builds',
    summary: 'Build an uploaded source, a repository elsewhere, or a commit of a hosted app again',
    tag: 'builds',
    permission: 'build:write',
    headers: z.object({
      'Idempotency-Key': z.string().optional().meta({
        description:
          'The same request sent again with it within a day is answered with the same build.',
      }),
    }),
    form: { fields: SubmitForm, file: 'source', json: SubmitJson },
    replies: { 202: json('Queued', Build) },
    errors: [
      'not_found',
      'conflict',
      'invalid_source',
      'dockerfile_required',
      'source_hash_mismatch',
      'source_too_large',
      'queue_full',
      'disk_full',
    ],
    async handle({ principal, receive, header }) {
      const key = readIdempotencyKey(header('idempotency-key'))
      const build = await submissions.submit(principal, receive, key)
      return { status: 202, json: await builds.show(principal, build) }
    },
  })
}
