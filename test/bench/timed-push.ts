// The bench's own server, and one timed push to it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeRepo, remoteUrl } from '../helpers/repo.ts'
import { launchServer, type ServerProcess } from '../helpers/server-process.ts'
import type { Sample } from './figures.ts'

export interface BenchServer {
  process: ServerProcess
  stop(): Promise<void>
}

export async function startBenchServer(): Promise<BenchServer> {
  const process = await launchServer({})
  return { process, stop: () => process.remove() }
}

export async function pushOnce(
  { process }: BenchServer,
  round: number,
): Promise<Omit<Sample, 'bareMs'>> {
  const token = await process.token('bench')
  const dir = await mkdtemp(join(tmpdir(), 'hm-bench-'))
  try {
    const repo = await makeRepo(dir, 'hello')
    await repo.write('round', `${round}\n`)
    await repo.commit()
    await repo.git('remote', 'add', 'hypeman', remoteUrl(process.url, token, `/bench-${round}.git`))
    const started = Date.now()
    const push = await repo.push('hypeman', 'main')
    const readyMs = Date.now() - started
    const first = push.lines.find(({ text }) => text.startsWith('----->'))
    if (!push.buildId || !first) throw new Error(`the push did not build:\n${push.text}`)
    const build = await process.build(push.buildId, token)
    if (build.status !== 'ready') throw new Error(`build ${build.id}: ${build.error}`)
    return { firstLineMs: first.atMs, readyMs, phases: build.phases ?? {} }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
