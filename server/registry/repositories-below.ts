// The repositories of the registry below a folder, as its catalog has them. Empty ones are among them.
import { catalogPages } from './catalog-pages.ts'
import type { RegistryUpstream } from './upstream.ts'

export async function* repositoriesBelow(
  upstream: RegistryUpstream,
  folder: string,
): AsyncGenerator<string[]> {
  // What comes before the folder is not asked for.
  for await (const page of catalogPages(upstream, folder)) {
    const below = page.filter((name) => name.startsWith(`${folder}/`))
    if (below.length > 0) yield below
    if ((page.at(-1) ?? '') > `${folder}/\uffff`) return
  }
}
