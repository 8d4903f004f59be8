// Reads the agent's messages off the channel, and writes to it. The guest is hostile: lengths are capped and every message
// is parsed by a schema before anything looks at it.
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import {
  type AgentMessage,
  type HostMessage,
  MESSAGE_BYTES_MAX,
  PROTOCOL_VERSION,
} from '../../agent/protocol.ts'
import { FailureClass, Provenance } from '../builds/schema.ts'
import { LOG_LINE_BYTES_MAX } from '../limits.ts'
import { BuildFailure } from './failure.ts'

const text = (max: number) => z.string().max(max)
const name = text(4096)
/** A build asks for two. */
const CACHES_MAX = 10

const Step = z.object({
  n: z.int().min(1),
  name,
  state: z.enum(['started', 'cached', 'done', 'failed']),
  started_at: text(64).optional(),
  completed_at: text(64).optional(),
  duration_ms: z.number().optional(),
  error: text(8192).optional(),
})

const FailedStep = z.object({
  n: z.int().min(1),
  name,
  exit_code: z.int().optional(),
  last_lines: z.array(text(LOG_LINE_BYTES_MAX)).max(100),
})

const Result = z.object({
  success: z.boolean(),
  image_digest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/)
    .optional(),
  error: text(8192).optional(),
  failure_class: FailureClass.optional(),
  failed_step: FailedStep.optional(),
  cache_trouble: text(8192).optional(),
  // What the host alone knows is left out.
  provenance: Provenance.omit({ cache: true, attestations_digest: true, source: true }),
  duration_ms: z.number(),
  network_connections: z.int().min(0).optional(),
  cache: z.object({ imported: z.array(text(512)).max(CACHES_MAX) }).optional(),
})

const Source = z.object({
  commit: z.string().regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/),
  ref: text(1024)
    .regex(/^refs\/[^\s\u0000-\u001f\u007f]+$/)
    .optional(),
  committed_at: z.int().min(0),
  hash: z.string().regex(/^sha256:[0-9a-f]{64}$/),
})

const seq = z.int().min(1)
const Phase = z.enum(['preparing', 'building', 'pushing'])
const Log = z.object({ log: text(MESSAGE_BYTES_MAX), step: z.int().optional() })

const Message = z.union([
  z.discriminatedUnion('type', [
    Log.extend({ type: z.literal('log'), seq }),
    z.object({ type: z.literal('step'), seq, step: Step }),
    z.object({ type: z.literal('status'), seq, status: Phase }),
    z.object({ type: z.literal('source'), seq, source: Source }),
    z.object({ type: z.literal('result'), seq, result: Result }),
    z.object({ type: z.literal('cache'), seq, exported: z.boolean() }),
    z.object({ type: z.literal('heartbeat') }),
    z.object({ type: z.literal('error'), error: text(8192) }),
    z.object({
      type: z.literal('hello'),
      protocol: z.int(),
      job_id: text(64),
      boot_ms: z.number(),
    }),
  ]),
  z.object({
    type: z.literal('status'),
    status: z.enum([...Phase.options, 'completed']),
    last: z.int().min(0),
  }),
])

/** The first message, as far as any version of the protocol has it. */
const Greeting = z.object({ type: z.literal('hello'), protocol: z.int().default(0) })

/** One message per line; ends when the agent closes. Throws BuildFailure `infra` on anything malformed. */
export async function* readMessages(channel: Duplex): AsyncGenerator<AgentMessage> {
  let pending: Buffer[] = []
  let pendingBytes = 0
  for await (const chunk of channel as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const line = Buffer.concat([...pending, chunk.subarray(start, end)])
      pending = []
      pendingBytes = 0
      start = end + 1
      yield parse(line)
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start))
      pendingBytes += chunk.length - start
    }
    if (pendingBytes > MESSAGE_BYTES_MAX) {
      throw new BuildFailure('infra', `the agent sent a message over ${MESSAGE_BYTES_MAX} bytes`)
    }
  }
}

function parse(line: Buffer): AgentMessage {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'))
    const greeting = Greeting.safeParse(value)
    if (greeting.success) checkVersion(greeting.data.protocol)
    return Message.parse(value) as AgentMessage
  } catch (cause) {
    if (cause instanceof BuildFailure) throw cause
    const start = line.subarray(0, 80).toString('utf8')
    throw new BuildFailure('infra', `the agent sent a malformed message: ${start}`, { cause })
  }
}

function checkVersion(protocol: number): void {
  if (protocol === PROTOCOL_VERSION) return
  throw new BuildFailure(
    'infra',
    `the agent of this builder image speaks version ${protocol} of the protocol, the server version ${PROTOCOL_VERSION}: use a builder image of the server's own version`,
  )
}

export function sendMessage(channel: Duplex, message: HostMessage): void {
  if (channel.writable) channel.write(`${JSON.stringify(message)}\n`)
}
