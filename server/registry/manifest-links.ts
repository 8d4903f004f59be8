// Layers that are not in the registry but elsewhere (`urls`), as base images of Windows have them: they are taken
// when a client could follow the link. distribution itself answers 500 to what it does not take of them.
import { z } from 'zod'
import { parseJson } from '../parse-json.ts'

const Linked = z.object({
  layers: z
    .array(z.object({ digest: z.string().optional(), urls: z.array(z.string()).optional() }))
    .default([]),
})

/** What is wrong, in a sentence; undefined when nothing is. */
export function wrongLink(manifest: Buffer): string | undefined {
  const parsed = Linked.safeParse(parseJson(manifest))
  // What is no manifest at all is for the registry to say.
  for (const { digest = '', urls = [] } of parsed.data?.layers ?? []) {
    const wrong = urls.find((url) => !isLink(url))
    if (wrong !== undefined) {
      const shown = JSON.stringify(wrong.slice(0, 200))
      return `the layer ${digest.slice(0, 80)} has the url ${shown}; http:// and https:// without fragment are taken`
    }
  }
  return undefined
}

function isLink(url: string): boolean {
  return /^https?:\/\/[^\s#]+$/.test(url) && URL.canParse(url)
}
