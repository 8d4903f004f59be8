// A user: one repository, one branch, one thing after the other; insists after a fault until it knows where it is.
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeRepo, type Repo, type RunningPush, remoteUrl } from '../helpers/repo.ts'
import { formOf, tarGzOf } from '../helpers/sources.ts'
import { followThrough } from './follower.ts'
import type { Ledger, Verdict } from './ledger.ts'
import type { Action, ClientPlan, PushAction } from './plan.ts'
import { push } from './push.ts'
import type { World } from './world.ts'

export interface ClientOptions {
  name: string
  plan: ClientPlan
  world: World
  ledger: Ledger
  /** From then on it begins nothing new, but still learns what became of the last. */
  stopping: AbortSignal
  say(text: string): void
}

const RETRY_MS = 1_000
const TRIES_MAX = 100

const CONTENT: Record<PushAction['content'], { dockerfile: string; verdict: Verdict }> = {
  quick: { dockerfile: 'COPY marker /marker\n', verdict: 'passes' },
  slow: {
    dockerfile:
      'COPY busybox /bin/busybox\nCOPY marker /marker\nRUN ["/bin/busybox", "sh", "-c", "for i in 1 2 3 4; do echo counting $i; /bin/busybox sleep 1; done"]\n',
    verdict: 'passes',
  },
  broken: { dockerfile: 'COPY missing /missing\n', verdict: 'fails' },
  'broken-late': {
    dockerfile:
      'COPY busybox /bin/busybox\nCOPY marker /marker\nRUN ["/bin/busybox", "sh", "-c", "echo about to fail; exit 42"]\n',
    verdict: 'fails',
  },
}

export async function runClient(options: ClientOptions): Promise<void> {
  const { name, plan, world, ledger, stopping, say } = options
  const { app, branch } = plan
  const token = await world.token(app.tenant)
  const repo = await cloneOf(
    join(world.root, 'clients', name),
    remoteUrl(world.url, token, `/${app.name}.git`),
  )
  const followed: Promise<void>[] = []
  let count = 0
  for (const action of plan.actions) {
    if (stopping.aborted) break
    count += 1
    await act(action)
    await sleep(action.pauseMs * world.pace.patience, undefined, { signal: stopping }).catch(
      () => {},
    )
  }
  await Promise.all(followed)

  async function follow(id: string): Promise<void> {
    ledger.surprises.push(...(await followThrough(world, { id, token })))
  }

  async function act(action: Action): Promise<void> {
    if (action.kind === 'push') return pushOne(action)
    if (action.kind === 'upload') return upload(action.content)
    return rebuild()
  }

  async function pushOne(action: PushAction): Promise<void> {
    const commit = await commitOf(action)
    const args = await argsOf(action)
    let isLeft = false
    let next = Promise.resolve()
    const goOn = async (buildId: string, running: RunningPush) => {
      await sleep(action.afterMs)
      if (action.next === 'cancel') return cancel(buildId)
      isLeft = true
      ledger.acts.push(action.next)
      running.interrupt(action.next === 'ctrl-c' ? 'SIGINT' : 'SIGKILL')
    }
    const onQueued = (buildId: string, running: RunningPush) => {
      if (action.next !== 'wait') next = goOn(buildId, running)
    }
    for (let tries = 1; ; tries += 1) {
      const { outcome, text } = await push({
        repo,
        args,
        branch,
        deadlineMs: world.pace.pushDeadlineMs,
        onQueued,
      })
      await next
      const detail = `${name}: git push ${args.join(' ')}\n${text}`
      ledger.pushes.push({
        repository: app.name,
        ref: `refs/heads/${branch}`,
        commit,
        outcome,
        detail,
      })
      if (outcome !== 'unknown' || tries === 1) {
        say(`${name} pushes ${action.content} ${commit.slice(0, 8)} to ${app.name}: ${outcome}`)
      }
      // Who has left does not ask again; who was cut off does.
      if (outcome !== 'unknown' || isLeft) return
      if (tries === TRIES_MAX) return void ledger.surprises.push(`is never answered: ${detail}`)
      await sleep(RETRY_MS)
    }
  }

  async function commitOf({ content, force }: PushAction): Promise<string> {
    const { dockerfile, verdict } = CONTENT[content]
    await repo.write('Dockerfile', `FROM scratch\n${dockerfile}`)
    await repo.write('marker', `${name} ${count}\n`)
    // A forced push leaves out the commit before.
    if (force && count > 1) await repo.git('reset', '--soft', 'HEAD~1').catch(() => {})
    const commit = await repo.commit(`${name} ${count} ${content}`)
    ledger.commits.set(commit, verdict)
    return commit
  }

  async function argsOf({ force, refs, options: chosen }: PushAction): Promise<string[]> {
    const isGated = app.settings.gate === true || chosen.includes('gate')
    const options = chosen.filter((option) => option !== 'detach' || !isGated)
    const args = options.flatMap((option) => ['-o', option])
    if (force) args.push('--force')
    args.push(`HEAD:refs/heads/${branch}`)
    if (refs === 'one') return args
    return [...args, `HEAD:refs/heads/side-${name}-${count}`, `HEAD:refs/tags/v-${name}-${count}`]
  }

  async function cancel(buildId: string): Promise<void> {
    const reply = await insist(() => world.api(`/builds/${buildId}`, token, { method: 'DELETE' }))
    if (reply === undefined) return
    ledger.acts.push('cancel')
    say(`${name} cancels ${buildId}: ${reply.status}`)
    if (reply.status === 204) ledger.cancelled.push(buildId)
    else if (reply.status !== 409) ledger.surprises.push(`DELETE /builds/${buildId}: ${reply.text}`)
  }

  async function upload(content: 'quick' | 'broken'): Promise<void> {
    const { dockerfile, verdict } = CONTENT[content]
    const archive = await tarGzOf(
      [{ name: 'Dockerfile' }, `FROM scratch\n${dockerfile}`],
      [{ name: 'marker' }, `${name} ${count}\n`],
    )
    const headers = { 'idempotency-key': `${name}-${count}` }
    await submit(() => ({ method: 'POST', headers, body: formOf(['source', archive]) }), verdict)
  }

  async function rebuild(): Promise<void> {
    const ref = `refs/heads/${branch}`
    const known = await insist(() => world.api(`/builds?app=${app.name}&limit=1`, token))
    if (known === undefined || known.text === '[]') return
    const headers = { 'content-type': 'application/json', 'idempotency-key': `${name}-${count}` }
    const body = JSON.stringify({ app: app.name, ref })
    await submit(() => ({ method: 'POST', headers, body }), undefined)
  }

  /** With its key it may be sent as often as needed. */
  async function submit(init: () => RequestInit, verdict: Verdict | undefined): Promise<void> {
    const reply = await insist(() => world.api('/builds', token, init()))
    if (reply === undefined) return
    if (reply.status === 202) {
      const { id, commit } = JSON.parse(reply.text) as { id: string; commit?: string }
      say(`${name} submits ${id}`)
      ledger.acts.push(verdict === undefined ? 'rebuild' : 'upload')
      followed.push(follow(id))
      ledger.submitted.set(id, verdict ?? ledger.commits.get(commit ?? '') ?? 'passes')
    } else if (verdict !== undefined) {
      ledger.surprises.push(`${name} uploads and is refused: ${reply.status} ${reply.text}`)
    }
  }

  /** Until there is an answer that is no `try again`. undefined when it is over first. */
  async function insist(
    ask: () => Promise<Response>,
  ): Promise<{ status: number; text: string } | undefined> {
    for (let tries = 0; tries < 3 || !stopping.aborted; tries += 1) {
      try {
        const reply = await ask()
        const text = await reply.text()
        if (reply.status === 500) ledger.surprises.push(`${name} is answered 500: ${text}`)
        if (reply.status !== 503) return { status: reply.status, text }
      } catch {
        // The server is away.
      }
      await sleep(RETRY_MS)
    }
    return undefined
  }
}

async function cloneOf(dir: string, url: string): Promise<Repo> {
  await mkdir(dir, { recursive: true })
  const repo = await makeRepo(dir)
  await copyFile('/bin/busybox', join(dir, 'busybox'))
  await repo.git('remote', 'add', 'hypeman', url)
  return repo
}
