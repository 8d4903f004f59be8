// A reader of one build's events that comes back after every cut and goes on behind the last one it has.
import { setTimeout as sleep } from 'node:timers/promises'
import { TERMINAL } from '../../server/builds/schema.ts'
import type { World } from './world.ts'

const RETRY_MS = 500

interface Reader {
  id: string
  token: string
  /** Number of the last event it has. */
  last: number
  isOver: boolean
  surprises: string[]
}

/** Until the terminal status. Returns what a reader should never see: gaps, repetitions, lines after the end. */
export async function followThrough(
  world: World,
  { id, token }: { id: string; token: string },
): Promise<string[]> {
  const reader: Reader = { id, token, last: 0, isOver: false, surprises: [] }
  while (!reader.isOver) {
    const reply = await world
      .api(`/builds/${id}/events?follow=true`, token, {
        headers: reader.last === 0 ? {} : { 'last-event-id': String(reader.last) },
      })
      .catch(() => undefined) // the server is away
    if (reply?.status === 204) {
      reader.surprises.push(`the end of build ${id} came behind ${reader.last} without a status`)
      break
    }
    if (reply?.status === 200) await read(reply, reader)
    else await reply?.body?.cancel()
    if (!reader.isOver) await sleep(RETRY_MS)
  }
  return reader.surprises
}

async function read(reply: Response, reader: Reader): Promise<void> {
  let rest = ''
  try {
    for await (const text of reply.body!.pipeThrough(new TextDecoderStream())) {
      const frames = (rest + text).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) take(frame, reader)
    }
  } catch {
    // Cut; it comes back.
  }
}

function take(frame: string, reader: Reader): void {
  const number = /^id: (\d+)$/m.exec(frame)?.[1]
  const data = /^data: (.*)$/m.exec(frame)?.[1]
  if (number === undefined || data === undefined) return
  const { id, last, isOver, surprises } = reader
  if (Number(number) !== last + 1)
    surprises.push(`build ${id}: event ${number} comes after ${last}`)
  if (isOver) surprises.push(`build ${id}: event ${number} comes after its end: ${data}`)
  reader.last = Number(number)
  const { type, status } = JSON.parse(data)
  if (type === 'status' && TERMINAL.has(status)) reader.isOver = true
}
