// Folders of a test. What it has ended may still write for a moment: a receive-pack whose client is gone, say.
import { rm } from 'node:fs/promises'

export function removeFolder(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 20 })
}
