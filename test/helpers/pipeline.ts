// A pipeline with real rows, and nothing else around it but what a test gives: no disks of builders, no source, no
// registry, no way out.
import { createPipeline, type PipelineOptions } from '../../server/pipeline/pipeline.ts'
import { silent } from './database.ts'
import { grantsOf } from './grants.ts'
import { noSource } from './sources.ts'

type Given = Pick<PipelineOptions, 'db' | 'listener' | 'runner'> & Partial<PipelineOptions>

export function quietPipeline(given: Given) {
  return createPipeline({
    log: silent,
    grant: grantsOf(given.db),
    builderDisks: { take: async () => undefined },
    fetchSource: noSource,
    findImage: async (_, digest) => ({ digest }),
    registryService: () => {},
    openEgress: noEgress,
    registryName: () => 'localhost:1',
    buildTimeoutSeconds: 60,
    ...given,
  })
}

export const noEgress: PipelineOptions['openEgress'] = () => ({
  handle: () => {},
  named: () => 0,
  close: () => {},
})
