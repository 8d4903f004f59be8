// The part of the server that makes a recorded image `ready`, until the test ends.
import type { TestContext } from 'node:test'
import { createFinish, type Finish, type FinishOptions } from '../../server/builds/finish.ts'
import { silent } from './database.ts'

type Given = Pick<FinishOptions, 'db' | 'listener'> & Partial<FinishOptions>

/** Nothing is tagged or published anywhere but where the test says. */
export function givenFinish(t: TestContext, { db, listener, ...more }: Given): Finish {
  const finish = createFinish({
    db,
    listener,
    log: silent,
    tagImage: async () => {},
    publishImage: async () => {},
    tagCommit: async () => {},
    ...more,
  })
  finish.start()
  t.after(() => finish.stop())
  return finish
}
