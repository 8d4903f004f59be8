// `npm run bench [-- TOPIC …]`: each topic prints our side, a plain baseline and their ratio, measured in one
// run; nothing is asserted.
const TOPICS: Record<string, () => Promise<{ run(): Promise<void> }>> = {
  push: () => import('./push.ts'),
  'push-100mb': () => import('./push-100mb.ts'),
  pushes: () => import('./pushes.ts'),
  cache: () => import('./cache.ts'),
  'builder-copy': () => import('./builder-copy.ts'),
  garbage: () => import('./garbage.ts'),
  submit: () => import('./submit.ts'),
  queue: () => import('./queue.ts'),
  reads: () => import('./reads.ts'),
  followers: () => import('./followers.ts'),
  'log-path': () => import('./log-path.ts'),
}

const words = process.argv.slice(2)
const chosen = Object.keys(TOPICS).filter(
  (name) =>
    words.length === 0 ||
    words.some((word) => (word in TOPICS ? name === word : name.includes(word))),
)
if (chosen.length === 0) {
  throw new Error(
    `no topic has ${words.join(' or ')} in it; known: ${Object.keys(TOPICS).join(', ')}`,
  )
}
for (const name of chosen) {
  console.log(`\n${name}`)
  const { run } = await TOPICS[name]!()
  await run()
}
