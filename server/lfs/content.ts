// What a pointer in a commit of an app stands for, or a text that says what to do about it.
import { AppError } from '../errors.ts'
import { ObjectLost } from '../objects/objects.ts'
import type { Pointer } from './pointer.ts'
import type { LfsContent } from './smudge.ts'
import type { LfsStore } from './store.ts'

/** Throws AppError `invalid_source`. */
export function contentOf(
  store: LfsStore,
  { appId, path: submodule }: { appId: string; path: string },
  signal: AbortSignal,
): LfsContent {
  const remote = submodule === '' ? 'hypeman' : `hypeman, in ${submodule}`
  const notHere = (path: string, what: string) =>
    new AppError('invalid_source', `${path} is kept by git-lfs, and its object ${what}`, {
      hint: `git lfs push --all ${remote}, then try again`,
    })

  async function* lossNamed(path: string, { oid }: Pointer, content: AsyncIterable<Uint8Array>) {
    try {
      yield* content
    } catch (error) {
      if (!(error instanceof ObjectLost)) throw error
      throw notHere(path, `${oid} was lost by the server's storage`)
    }
  }

  return async (path, pointer) => {
    const { oid, bytes } = pointer
    const file = await store.open(appId, oid, signal)
    if (!file) throw notHere(path, `${oid} is not here`)
    if (file.bytes === bytes) return lossNamed(path, pointer, file.content)
    throw new AppError(
      'invalid_source',
      `${path} is kept by git-lfs: its pointer says ${bytes} bytes, its object ${oid} has ${file.bytes}`,
      { hint: `git lfs checkout, and add ${path} again` },
    )
  }
}
