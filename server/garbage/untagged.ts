// In which repositories a manifest goes that no tag names: in caches, whose tags are overwritten by each build,
// and in those of single builds once these have ended. Images of apps may be used by digest; policies keep them.
import { TERMINAL } from '../builds/schema.ts'
import type { Db } from '../db/pool.ts'

export async function untaggedRule(db: Db): Promise<(repository: string) => boolean> {
  const running: string[] = await db('builds')
    .whereNotIn('status', [...TERMINAL])
    .pluck('id')
  const live = new Set(running)
  return (repository) => {
    const [area, id = ''] = repository.split('/')
    return area === 'cache' || (area === 'builds' && !live.has(id))
  }
}
