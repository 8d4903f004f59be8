// A reporter for node's test runner that writes its closing counts as JSON, so that runs can be added up.

const COUNT = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/

export default async function* counts(events) {
  const found = {}
  for await (const { type, data } of events) {
    const [, name, value] = (type === 'test:diagnostic' && COUNT.exec(data.message)) || []
    if (name && data.nesting === 0) found[name] = Number(value)
  }
  yield JSON.stringify(found)
}
