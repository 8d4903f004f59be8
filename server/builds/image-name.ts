// `image_name`: where a build's image is published besides builds/<id>; only below the tenant's own apps.
import { branchOf } from '../apps/branch-name.ts'
import type { Queryable } from '../db/pool.ts'
import { AppError, invalidRequest } from '../errors.ts'
import { isRepoName, isTag } from '../registry/names.ts'
import { branchTag } from './branch-tag.ts'

export interface ImageName {
  repository: string
  tag: string
}

export interface PublishedBuild {
  tenant: string
  app: string | undefined
  ref: string | undefined
  imageName: string | undefined
}

/** Where the image of a build may lie besides builds/<id>, and under which tags as its own. */
export function publicationsOf({ tenant, app, ref, imageName }: PublishedBuild): ImageName[] {
  const named = imageName === undefined ? undefined : readImageName(imageName, tenant)
  return [named, branchImageName({ tenant, app, ref })].filter((name) => name !== undefined)
}

/** Where the image of a branch of an app goes; undefined for a ref that is none. */
export function branchImageName({
  tenant,
  app,
  ref,
}: Pick<PublishedBuild, 'tenant' | 'app' | 'ref'>): ImageName | undefined {
  const branch = ref === undefined ? undefined : branchOf(ref)
  if (app === undefined || branch === undefined) return undefined
  return { repository: `apps/${tenant}/${app}`, tag: branchTag(branch) }
}

/** Throws AppError `invalid_request`. */
export function parseImageName(text: string, tenant: string): ImageName {
  const name = readImageName(text, tenant)
  if (name) return name
  const shown = JSON.stringify(text.slice(0, 200))
  throw invalidRequest(`invalid image_name: ${shown} is not apps/${tenant}/<name>[:tag]`)
}

/** The tags there are an app's branches: nobody else moves one. Throws AppError `conflict`. */
export async function requireNotOfApp(
  db: Queryable,
  { repository, tag }: ImageName,
  tenant: string,
): Promise<void> {
  const name = repository.slice(repository.lastIndexOf('/') + 1)
  if (!(await db('apps').where({ tenant, name }).first('id'))) return
  throw new AppError(
    'conflict',
    `image_name=${repository}:${tag}: there is an app ${name}, and the tags there are its branches; give a name that no app has`,
  )
}

function readImageName(text: string, tenant: string): ImageName | undefined {
  const [repository = '', tag = 'latest', ...more] = text.split(':')
  const prefix = `apps/${tenant}/`
  const name = repository.startsWith(prefix) ? repository.slice(prefix.length) : ''
  const isSound = isRepoName(name) && !name.includes('/') && isRepoName(repository)
  return isSound && isTag(tag) && more.length === 0 ? { repository, tag } : undefined
}
