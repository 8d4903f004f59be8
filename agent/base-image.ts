// Which image the final stage of a Dockerfile is built on, before anything is built: stages by name, global
// arguments, build arguments. What BuildKit then really used is compared with it afterwards.
import { type Dockerfile, parseDockerfile } from './dockerfile-lines.ts'
import { expandWord, splitWords } from './dockerfile-words.ts'

export interface BaseQuestion {
  dockerfile: string
  target?: string | undefined
  buildArgs?: Record<string, string> | undefined
  /** `linux/amd64` */
  platform: string
}

/** As it is written, with variables replaced; `scratch` for none. Throws a sentence when it cannot be told. */
export function finalBase(question: BaseQuestion): string {
  const dockerfile = parseDockerfile(question.dockerfile)
  const stages = stagesOf(dockerfile, globalArgs(dockerfile, question))
  const { target } = question
  const isTarget = ({ name }: Stage) => name === target?.toLowerCase()
  const final = target === undefined ? stages.at(-1) : stages.findLast(isTarget)
  if (!final) throw new Error(target ? `there is no stage ${target}` : 'there is no FROM')
  return final.base
}

interface Stage {
  name: string | undefined
  /** Of the stage it begins with, when it begins with one. */
  base: string
}

function stagesOf({ instructions, escapeChar }: Dockerfile, args: Map<string, string>): Stage[] {
  const stages: Stage[] = []
  for (const { command, rest } of instructions) {
    if (command !== 'FROM') continue
    const [from = '', as, name] = splitWords(rest, escapeChar)
    const base = expandWord(from, { escapeChar, variables: args })
    if (base === '') throw new Error(`FROM ${rest}: the base image is empty`)
    const earlier = stages.findLast((stage) => stage.name === base)
    const isNamed = as?.toLowerCase() === 'as' && name !== undefined
    stages.push({ name: isNamed ? name.toLowerCase() : undefined, base: earlier?.base ?? base })
  }
  return stages
}

/** ARG lines before the first FROM, over BuildKit's own; build arguments win. */
function globalArgs({ instructions, escapeChar }: Dockerfile, question: BaseQuestion) {
  const { buildArgs = {}, platform, target } = question
  const [os = '', arch = '', variant = ''] = platform.split('/')
  const args = new Map<string, string>([['TARGETSTAGE', target ?? 'default']])
  for (const side of ['BUILD', 'TARGET']) {
    for (const [name, value] of Object.entries({ PLATFORM: platform, OS: os, ARCH: arch })) {
      args.set(side + name, value)
    }
    args.set(`${side}VARIANT`, variant)
  }
  for (const name of args.keys())
    if (Object.hasOwn(buildArgs, name)) args.set(name, buildArgs[name]!)
  for (const { command, rest } of instructions) {
    if (command === 'FROM') break
    if (command !== 'ARG') continue
    for (const word of splitWords(rest, escapeChar)) {
      const [, name = '', value] = /^([^=]*)(?:=([\s\S]*))?$/.exec(word) ?? []
      if (Object.hasOwn(buildArgs, name)) args.set(name, buildArgs[name]!)
      else if (value !== undefined)
        args.set(name, expandWord(value, { escapeChar, variables: args }))
    }
  }
  return args
}

export interface ImageName {
  /** With registry and, unless it has a digest, tag: `docker.io/library/node:20`. */
  name: string
  digest: string | undefined
}

/** As BuildKit completes a short name. */
export function completeName(ref: string): ImageName {
  const at = ref.indexOf('@')
  const [plain, digest] = at === -1 ? [ref, undefined] : [ref.slice(0, at), ref.slice(at + 1)]
  const slash = plain.indexOf('/')
  const first = slash === -1 ? '' : plain.slice(0, slash)
  const isHost = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase()
  const path = isHost ? plain.slice(slash + 1) : plain
  const domain = isHost && first !== 'index.docker.io' ? first : 'docker.io'
  const full = domain === 'docker.io' && !path.includes('/') ? `library/${path}` : path
  const isTagged = /:[^/]*$/.test(full)
  return { name: `${domain}/${full}${isTagged || digest ? '' : ':latest'}`, digest }
}
