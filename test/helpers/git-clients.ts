// A git client of any make, as a test drives it: what to push, the text as it comes, how it went. Most are
// programs of their own that read the order as JSON from stdin and print one JSON message per line.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A client that has not ended by then hangs. */
const CLIENT_DEADLINE_MS = 60_000

export interface PushOrder {
  /** Work tree. */
  dir: string
  url: string
  user: string
  password: string
  /** As git has it, with full names: `refs/heads/a:refs/heads/b`, `:refs/heads/b`. */
  refspec: string
  options?: readonly string[]
}

export interface Verdict {
  ok: boolean
  /** Why not, in what the client gives as the ref's status or as its error. */
  reason: string
}

export interface ClientPush {
  done: Promise<Verdict & { text: string }>
  /** Resolves with the match when the text has it, also when it came before. */
  saw(pattern: RegExp): Promise<RegExpExecArray>
}

export interface GitClient {
  name: string
  /** Whether it can send push options. */
  sendsOptions: boolean
  /** It shows `?` for every byte that is not ASCII. */
  showsAsciiOnly?: boolean
  push(order: PushOrder): ClientPush
}

/** `work` is given where the text goes. */
export function follow(work: (say: (text: string) => void) => Promise<Verdict>): ClientPush {
  let text = ''
  const waiting = new Set<() => void>()
  const working = work((more) => {
    text += more
    for (const look of waiting) look()
  })
  const done = working.then((verdict) => ({ ...verdict, text }))
  done.catch(() => {}) // a test looks at it when it is through with the text
  return {
    done,
    saw: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(text)
          if (!match) return
          waiting.delete(look)
          clearTimeout(timer)
          resolve(match)
        }
        const timer = setTimeout(
          () => reject(new Error(`the push did not show ${pattern}, but:\n${text}`)),
          CLIENT_DEADLINE_MS,
        )
        waiting.add(look)
        look()
        const tooLate = (how: unknown) =>
          reject(
            new Error(
              `the push ended without ${pattern}: ${how instanceof Error ? how.message : JSON.stringify(how)}`,
            ),
          )
        done.then(tooLate, tooLate)
      }),
  }
}

export interface ClientProgram extends Omit<GitClient, 'push'> {
  command: readonly [string, ...string[]]
  env?: Record<string, string>
}

type Message = { text: string } | Verdict

export function programClient({ command, env, ...client }: ClientProgram): GitClient {
  const [file, ...args] = command
  const run = async (order: PushOrder, say: (text: string) => void): Promise<Verdict> => {
    const child = spawn(file, args, {
      cwd: order.dir,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: CLIENT_DEADLINE_MS,
      killSignal: 'SIGKILL',
    })
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (data: string) => {
      errors += data
    })
    let verdict: Verdict | undefined
    const lines = createInterface({ input: child.stdout })
    lines.on('line', (line) => {
      const message = JSON.parse(line) as Message
      if ('text' in message) say(message.text)
      else verdict = message
    })
    child.stdin.on('error', () => {}) // it may end before it has read the order; its exit tells
    child.stdin.end(`${JSON.stringify(order)}\n`)
    const [[code, signal]] = await Promise.all([once(child, 'exit'), once(lines, 'close')])
    if (verdict) return verdict
    throw new Error(`${client.name} ended with ${signal ?? code} and without a verdict: ${errors}`)
  }
  return { ...client, push: (order) => follow((say) => run(order, say)) }
}
