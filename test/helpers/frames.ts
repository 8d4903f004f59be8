// Server-sent events as the tests read them.
import assert from 'node:assert/strict'
import type { TestApi } from './api.ts'

export interface Frame {
  id?: string
  // biome-ignore lint/suspicious/noExplicitAny: frames of every type
  data: any
}

export function parseFrames(text: string): Frame[] {
  return text
    .split('\n\n')
    .filter(Boolean)
    .map((frame) => {
      const fields = Object.fromEntries(
        frame.split('\n').map((part) => {
          const colon = part.indexOf(': ')
          return [part.slice(0, colon), part.slice(colon + 2)]
        }),
      )
      return { ...(fields.id ? { id: fields.id } : {}), data: JSON.parse(fields.data!) }
    })
}

export const framesOf = async (
  api: TestApi,
  path: string,
  headers: Record<string, string> = {},
) => {
  const reply = await api.call(path, { headers })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers.get('content-type'), 'text/event-stream')
  return parseFrames(await reply.text())
}
