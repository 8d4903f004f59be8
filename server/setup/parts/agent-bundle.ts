// The agent as one file for the guest's Node. Keyed by its sources and the lock file, so that an unchanged
// agent costs a few reads; the image made of it is keyed by the bundle itself.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build as bundle } from 'esbuild'
import type { Cache } from '../cache.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
/** CommonJS packages inside an ESM bundle ask for `require`. */
const REQUIRE =
  "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);"

/** Path of agent.mjs. */
export async function agentBundle(cache: Cache): Promise<string> {
  const dir = await cache.part({
    name: 'agent',
    version: await hashFiles([join(root, 'agent'), join(root, 'package-lock.json')], [REQUIRE]),
    title: 'builder image: agent',
    repair: 'npm run setup',
    build: async (into) => {
      await bundle({
        entryPoints: [join(root, 'agent/main.ts')],
        outfile: join(into, 'agent.mjs'),
        bundle: true,
        platform: 'node',
        target: 'node24',
        format: 'esm',
        legalComments: 'none',
        logLevel: 'silent', // the error says it all
        banner: { js: REQUIRE },
      })
    },
  })
  return join(dir, 'agent.mjs')
}

/** Hash over names, modes and contents of files and folders, and over more words. */
export async function hashFiles(paths: string[], words: string[] = []): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) {
    for (const [name, file] of await filesBelow(path)) {
      hash.update(`${name}\n`).update(
        createHash('sha256')
          .update(await readFile(file))
          .digest(),
      )
    }
  }
  return hash.update(words.join('\n')).digest('hex').slice(0, 12)
}

/** Relative name and path of every file, in one order on every machine. */
async function filesBelow(path: string): Promise<[string, string][]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => null)
  if (entries === null) return [['', path]]
  const files = entries.filter((entry) => entry.isFile())
  const names = files.map((file) => join(file.parentPath, file.name).slice(path.length + 1)).sort()
  return names.map((name) => [name, join(path, name)])
}
