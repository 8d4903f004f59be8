// The marker in a bucket that says whose storage it is.
import { GetObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { asError } from '../errors.ts'

export function createS3Owner(client: S3Client, marker: { Bucket: string; Key: string }) {
  async function read(): Promise<string | undefined> {
    try {
      const { Body } = await client.send(new GetObjectCommand(marker))
      return (await Body?.transformToString())?.trim()
    } catch (error) {
      if (asError(error).name === 'NoSuchKey') return undefined
      throw error
    }
  }

  /** Where the storage does not know the condition, the last of several at once is the one. */
  async function write(installation: string): Promise<void> {
    const body = { ...marker, Body: `${installation}\n` }
    try {
      await client.send(new PutObjectCommand({ ...body, IfNoneMatch: '*' }))
    } catch (error) {
      const { name } = asError(error)
      if (name === 'PreconditionFailed' || name === 'ConditionalRequestConflict') return
      if (name !== 'NotImplemented') throw error
      await client.send(new PutObjectCommand(body))
    }
  }

  return { read, write }
}
