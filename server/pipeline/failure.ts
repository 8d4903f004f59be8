// Why a build ended badly, as the pipeline throws it: a class and one sentence.
import type { FailureClass } from '../builds/schema.ts'

export class BuildFailure extends Error {
  override name = 'BuildFailure'
  readonly failureClass: FailureClass
  /** The guest never came up, so nothing of the user's has run: another try is fair. */
  beforeHello = false

  constructor(failureClass: FailureClass, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.failureClass = failureClass
  }
}
