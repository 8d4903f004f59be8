// What a pointer in a commit of an app stands for, or a text that says what to do about it.
import { AppError } from '../errors.ts'
import type { LfsContent } from './smudge.ts'
import type { LfsStore } from './store.ts'

/** Throws AppError `invalid_source`. */
export function contentOf(
  store: LfsStore,
  { appId, path: submodule }: { appId: string; path: string },
  signal: AbortSignal,
): LfsContent {
  const remote = submodule === '' ? 'hypeman' : `hypeman, in ${submodule}`

  return async (path, { oid, bytes }) => {
    const file = await store.open(appId, oid, signal)
    if (file?.bytes === bytes) return file.content
    if (!file) {
      throw new AppError(
        'invalid_source',
        `${path} is kept by git-lfs, and its object ${oid} is not here`,
        {
          hint: `git lfs push --all ${remote}, then push again or build this commit by POST /builds`,
        },
      )
    }
    throw new AppError(
      'invalid_source',
      `${path} is kept by git-lfs: its pointer says ${bytes} bytes, its object ${oid} has ${file.bytes}`,
      { hint: `git lfs checkout, and add ${path} again` },
    )
  }
}
