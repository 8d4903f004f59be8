// The tags of builds in a push. They are not shown to a push, so git push --tags sends those that were fetched as new
// ones. What is here already and the same is given the old value that git will find: it then changes nothing, and git
// looks at that again with the ref locked.
import { type PushHead, setOld, ZERO_OID } from './pkt-line.ts'

export const BUILD_TAGS = 'refs/tags/builds/'
/** As the server names them. */
const BUILD_TAG = /^refs\/tags\/builds\/[a-z0-9]+$/

export async function leaveBuildTags(
  head: PushHead,
  tip: (ref: string) => Promise<string | undefined>,
): Promise<void> {
  for (const update of head.updates) {
    if (update.oldSha !== ZERO_OID || !BUILD_TAG.test(update.ref)) continue
    if ((await tip(update.ref)) === update.newSha) setOld(head, update, update.newSha)
  }
}
