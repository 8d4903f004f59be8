// The server role: git, REST, registry proxy, hooks, reconciler, and the finishing of builds.
import { createFinish, tagMessage } from '../builds/finish.ts'
import { tagCommit } from '../git/tags.ts'
import { createGitServices, type GitServices } from './git-services.ts'
import { createServerHttp } from './http.ts'
import type { ServerCore } from './server-core.ts'
import { createUpkeep } from './upkeep.ts'

export async function startServerRole(core: ServerCore): Promise<{ url: string }> {
  const { config, objects, lfs } = core
  await objects.sweep()
  await lfs.sweepStaged()
  const services = await createGitServices(core)
  const { hooks, reconciler } = services
  const upkeep = createUpkeep(core, services)
  const http = createServerHttp(core, services, upkeep)
  const url = await http.listen({ host: config.host, port: config.port })
  core.releasers.add('http', async () => {
    await hooks.quiesce() // before http, so that a followed push hears why its lines end
    await http.stop()
  })
  core.setPublicUrl(url)
  const finish = createFinisher(core, services)
  finish.start()
  core.releasers.add('finish', () => finish.stop())
  upkeep.start()
  await reconciler.start()
  core.releasers.add('reconciler', () => reconciler.stop())
  return { url }
}

function createFinisher(core: ServerCore, { repositories }: GitServices) {
  const { db, listener, log, users } = core
  return createFinish({
    db,
    listener,
    log: log.child({ mod: 'finish' }),
    tagImage: core.registryClient.tag,
    publishImage: core.registryClient.publish,
    async tagCommit(build) {
      const { appId, commit } = build
      if (!appId || !commit || !(await repositories.exists(appId))) return
      await tagCommit({
        gitdir: repositories.path(appId),
        name: `builds/${build.id}`,
        commit,
        message: tagMessage(build, core.registryName()),
        user: users.git,
      })
    },
  })
}
