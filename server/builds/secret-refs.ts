// Every secret a build needs: those its Dockerfile mounts, and that of its repository.
import type { BuildRequest, SecretRef } from './request-schema.ts'

export function secretRefsOf({
  secrets = [],
  repo_secret: own,
}: Pick<BuildRequest, 'secrets' | 'repo_secret'>): SecretRef[] {
  return own === undefined ? secrets : [...secrets.filter(({ id }) => id !== own), { id: own }]
}
