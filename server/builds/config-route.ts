// GET /builds/{id}/config: what the build's pod was given.
import { z } from 'zod'
import { json, route } from '../http/route.ts'
import { BuildId } from './schema.ts'
import type { Builds } from './service.ts'
import { ShownConfig } from './shown-config.ts'

export function configRoute(builds: Builds) {
  return route({
    id: 'getBuildConfig',
    tag: 'builds',
    resource: 'build',
    method: 'get',
    path: '/builds/{id}/config',
    summary: 'The configuration the pod of the latest attempt was given, without tokens and keys',
    permission: 'build:read',
    params: z.object({ id: BuildId }),
    replies: { 200: json('The configuration', ShownConfig) },
    async handle({ principal, params: { id } }) {
      return { status: 200, json: await builds.config(principal, id) }
    },
  })
}
