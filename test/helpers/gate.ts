// A server whose app is gated, with the real end of builds: tags on commits, `ready`.
import type { TestContext } from 'node:test'
import type { BuildRow } from '../../server/builds/store.ts'
import { tagCommit } from '../../server/git/tags.ts'
import { givenFinish } from './finish.ts'
import { type GitServer, type GitServerOptions, givenGitServer } from './git-server.ts'
import type { Repo } from './repo.ts'

export interface GatedServer {
  server: GitServer
  repo: Repo
  /** Where a ref of the app is, by its full name. */
  tip(ref?: string): Promise<string | undefined>
  buildTags(): Promise<string[]>
  build(id: string): Promise<BuildRow>
}

/** With an app `web` whose client has something on main, which is not pushed yet. */
export async function givenGatedServer(
  t: TestContext,
  { gate = true, ...options }: GitServerOptions & { gate?: boolean } = {},
): Promise<GatedServer> {
  const server = await givenGitServer(t, options)
  const repo = await server.givenClient(t, 'web')
  await repo.push('hypeman', 'main:refs/tags/first')
  if (gate) await server.db('apps').update({ settings: { gate: true } })
  const { db, listener, repositories, user } = server
  const { id: appId } = await server.app('web')
  givenFinish(t, {
    db,
    listener,
    tagCommit: ({ id, commit = '' }) =>
      tagCommit({
        gitdir: repositories.path(appId),
        name: `builds/${id}`,
        commit,
        message: 'x',
        user,
      }),
  })
  return {
    server,
    repo,
    tip: (ref = 'refs/heads/main') => repositories.tip(appId, ref),
    async buildTags() {
      const listed = await server.git.run(['-C', repositories.path(appId), 'tag', '-l', 'builds/*'])
      return listed.split('\n').filter((name) => name !== '')
    },
    async build(id) {
      const found = (await server.builds()).find((build) => build.id === id)
      if (!found) throw new Error(`there is no build ${id}`)
      return found
    },
  }
}
