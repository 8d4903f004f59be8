// The auditor and what is not in the database: repositories, registry, processes and folders.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { execa } from 'execa'
import type { BuildRow } from '../../server/builds/store.ts'
import { pathsFor } from '../../server/paths.ts'
import { type Audited, givenAudited } from './audited.ts'
import { all, changed, plantEach, type Undo, type Violation } from './planted.ts'

const repositoryOf = ({ server }: Audited, { appId }: BuildRow) => server.repositories.path(appId!)

async function movedRef(given: Audited, ref: string, to: string | undefined): Promise<Undo> {
  const git = (...args: string[]) =>
    execa('git', ['-c', 'safe.directory=*', '-C', repositoryOf(given, given.builds.first), ...args])
  const { stdout: before } = await git('rev-parse', ref)
  await (to === undefined ? git('update-ref', '-d', ref) : git('update-ref', ref, to))
  return () => git('update-ref', ref, before)
}

async function away(path: string): Promise<Undo> {
  await rename(path, `${path}.away`)
  return () => rename(`${path}.away`, path)
}

async function file(path: string): Promise<Undo> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, '')
  return () => rm(path, { force: true })
}

async function listening(path: string): Promise<Undo> {
  await mkdir(dirname(path), { recursive: true })
  const server = createServer().listen(path)
  await once(server, 'listening')
  return async () => {
    await new Promise((resolve) => server.close(resolve))
    await rm(dirname(path), { recursive: true })
  }
}

/** A process that has a path among its arguments. */
async function process_(path: string): Promise<Undo> {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()', path])
  await once(child, 'spawn')
  return async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

const blobData = ({ registryDir }: Audited, digest: string) => {
  const hex = digest.slice('sha256:'.length)
  return join(registryDir, 'blobs/sha256', hex.slice(0, 2), hex, 'data')
}

async function layerOf(given: Audited, { imageDigest }: BuildRow): Promise<string> {
  const manifest = JSON.parse(await readFile(blobData(given, imageDigest!), 'utf8'))
  return blobData(given, manifest.layers[0].digest)
}

const short = ({ commit }: BuildRow) => commit!.slice(0, 10)

const inRepositories: Record<string, Violation> = {
  'a ref that nobody has put where it is': {
    plant: (given) => movedRef(given, 'refs/heads/main', given.builds.first.commit),
    found: ({ builds: { first } }) => [
      new RegExp(
        `^refs are where .*: refs/heads/main of acme/web is at ${short(first)}; its pushes`,
      ),
      new RegExp(
        `^every move .*: refs/heads/main of acme/web is at ${short(first)}, and its latest`,
      ),
    ],
  },
  'a branch that is gone': {
    plant: (given) => movedRef(given, 'refs/heads/draft', undefined),
    found: () => [
      /^refs are where .*: refs\/heads\/draft of acme\/web is at nothing; .* accepted$/,
    ],
  },
  'a ready build without its tag': {
    plant: (given) => movedRef(given, `refs/tags/builds/${given.builds.first.id}`, undefined),
    found: ({ builds: { first } }) => [
      new RegExp(`^ready builds are tagged: build ${first.id} of .*, and its tag is not there$`),
    ],
  },
  'a tag on another commit': {
    plant: (given) => {
      const { first, newest } = given.builds
      return movedRef(given, `refs/tags/builds/${first.id}`, newest.commit)
    },
    found: ({ builds: { first, newest } }) => [
      new RegExp(`^ready builds are tagged: build ${first.id} .*its tag is on ${short(newest)}$`),
    ],
  },
  'a commit that is not in the repository': {
    plant: async (given) => {
      const { commit = '' } = given.builds.failed
      const objects = join(repositoryOf(given, given.builds.failed), 'objects')
      return away(join(objects, commit.slice(0, 2), commit.slice(2)))
    },
    found: () => [/^repositories are sound: the repository of acme\/web .*missing commit/s],
  },
  'a lock and a pack that dead processes have left': {
    plant: async (given) => {
      const repository = repositoryOf(given, given.builds.first)
      return all(
        await file(join(repository, 'refs/heads/main.lock')),
        await file(join(repository, 'objects/tmp_objdir-incoming-x1/pack')),
        () =>
          rm(join(repository, 'objects/tmp_objdir-incoming-x1'), { recursive: true, force: true }),
      )
    },
    found: () => [
      /^nothing is left: file .*\/refs\/heads\/main\.lock$/,
      /^nothing is left: file .*\/objects\/tmp_objdir-incoming-x1$/,
    ],
  },
}

const inRegistry: Record<string, Violation> = {
  'a layer that is gone': {
    plant: async (given) => away(await layerOf(given, given.builds.first)),
    found: ({ builds: { first } }) =>
      [first.imageDigest!.replace(/^/, '@'), ':latest'].map(
        (name) =>
          new RegExp(
            `^ready images .*: build ${first.id}: blob .* of builds/${first.id}${name} .*404`,
          ),
      ),
  },
  'a layer with other bytes': {
    plant: async (given) => {
      const path = await layerOf(given, given.builds.first)
      const bytes = await readFile(path)
      await writeFile(path, Buffer.alloc(bytes.length))
      return () => writeFile(path, bytes)
    },
    found: ({ builds: { first } }) => [
      new RegExp(
        `^ready images .*: build ${first.id}: blob .*@.* has 1000 bytes.* 200, 1000 bytes`,
      ),
      new RegExp(`^ready images .*: build ${first.id}: blob .*:latest.* 200, 1000 bytes`),
    ],
  },
  'an image without its tag': {
    plant: ({ registryDir, builds: { first } }) =>
      away(join(registryDir, `repositories/builds/${first.id}/_manifests/tags/latest`)),
    found: ({ builds: { first } }) => [
      new RegExp(`^ready images .*: builds/${first.id}:latest should be sha256:.* answers 404$`),
    ],
  },
  'a branch that has the image of an older push': {
    plant: async ({ registry, builds: { first, newest } }) => {
      await registry.tag('apps/acme/web', first.imageDigest!, 'main')
      return () => registry.tag('apps/acme/web', newest.imageDigest!, 'main')
    },
    found: ({ builds: { first, newest } }) => [
      new RegExp(
        `^branch images .*: build ${newest.id}: apps/acme/web:main should be ${newest.imageDigest} and is ${first.imageDigest}$`,
      ),
    ],
  },
  'a branch that is recorded as of an older push': {
    plant: ({ server: { db }, builds: { first, newest } }) =>
      changed(db, 'branch_images', { build_id: newest.id }, { build_id: first.id }),
    found: ({ builds: { first, newest } }) => [
      new RegExp(`^branch images .* recorded as of build ${first.id}; .* is of ${newest.id}$`),
    ],
  },
  'a name that was asked for and not given': {
    plant: ({ server: { db }, builds: { first } }) => {
      const request = JSON.stringify({ ...first.request, image_name: 'apps/acme/named:v1' })
      return changed(db, 'builds', { id: first.id }, { request })
    },
    found: ({ builds: { first } }) => [
      new RegExp(
        `^images have the names .*: apps/acme/named:v1 is of none of .* ${first.id}: .*404`,
      ),
    ],
  },
  'a registry that is not there': {
    plant: async () => async () => {},
    input: () => ({ registryUrl: 'http://127.0.0.1:2' }),
    found: () => Array(10).fill(/could not be fetched: fetch failed: .*ECONNREFUSED/),
  },
}

const sourceOf = ({ server }: Audited, { sourceKey }: BuildRow) =>
  join(server.root, 'objects', `${sourceKey}.tar`)

const inObjects: Record<string, Violation> = {
  'a source that is gone': {
    plant: (given) => away(sourceOf(given, given.builds.first)),
    found: ({ builds: { first } }) => [
      new RegExp(`^sources are kept: sources/.* of the builds ${first.id} is not there$`),
    ],
  },
  'a source with other bytes': {
    async plant(given) {
      const path = sourceOf(given, given.builds.failed)
      const bytes = await readFile(path)
      await writeFile(path, bytes.subarray(1))
      return () => writeFile(path, bytes)
    },
    found: ({ builds: { failed } }) => [
      new RegExp(
        `^sources are kept: sources/.* of the builds ${failed.id} has the content of [0-9a-f]`,
      ),
    ],
  },
}

const onTheMachine: Record<string, Violation> = {
  'an upload that nobody ended': {
    plant: ({ server }) => file(join(server.root, 'objects/incoming/half')),
    found: () => [/^nothing is left: file .*\/objects\/incoming\/half$/],
  },
  'the folder of a pod': {
    plant: ({ server }) => file(join(pathsFor(server.root).pods, 'disk.img')),
    found: () => [/^nothing is left: of a pod in .*: disk\.img$/],
  },
  'the disk of an attempt that came to nothing': {
    plant: ({ server, builds: { failed } }) =>
      file(join(pathsFor(server.root).builders, 'k1', `${failed.id}-1.img`)),
    found: ({ builds: { failed } }) => [
      new RegExp(`^nothing is left: disk of a builder .*/k1/${failed.id}-1\\.img$`),
    ],
  },
  'the disk of a good build': {
    plant: ({ server, builds: { first } }) =>
      file(join(pathsFor(server.root).builders, 'k1', `${first.id}-1.img`)),
    found: () => [],
  },
  'a process of a pod, also below one that may live': {
    plant: ({ server }) => process_(join(pathsFor(server.root).pods, 'x-1')),
    found: () => [/^nothing is left: process \d+ .*\/pods\/x-1/],
  },
  'a process below one that may live, which is no pod: it may live': {
    plant: ({ server }) => process_(join(server.root, 'registry')),
    found: () => [],
  },
  'the same process when all were stopped, a socket and a file': {
    plant: async ({ server }) =>
      all(
        await process_(join(server.root, 'registry')),
        await listening(join(pathsFor(server.root).run, 'x.sock')),
        await file(join(pathsFor(server.root).run, 'x.new')),
      ),
    input: () => ({ pids: [] }),
    found: () => [
      /^nothing is left: process \d+ .*\/registry/,
      /^nothing is left: socket .*\/x\.sock$/,
      /^nothing is left: file .*\/x\.new$/,
    ],
  },
}

test('what is wrong in repositories, registry and on the machine is found', async (t) => {
  const given = await givenAudited(t)
  await plantEach(t, given, { ...inRepositories, ...inRegistry, ...inObjects, ...onTheMachine })
})
