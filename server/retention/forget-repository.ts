// What the database knows of a repository of the registry that is gone: its use, and what was pushed about its images.
import type { Queryable } from '../db/pool.ts'

export async function forgetRepository(db: Queryable, repo: string): Promise<void> {
  for (const table of ['repository_use', 'referrers']) await db(table).where({ repo }).delete()
}
