// Why a build ended badly, as the pipeline throws it: a class and one sentence.
import type { FailureClass } from '../builds/schema.ts'

export class BuildFailure extends Error {
  override name = 'BuildFailure'
  readonly failureClass: FailureClass
  /** The worker or the machine broke, not what the user gave: another try is fair. */
  mayRetry = false

  constructor(failureClass: FailureClass, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.failureClass = failureClass
  }
}
