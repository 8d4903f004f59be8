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

  /** Of two at once, one is first; where the storage does not keep the condition, the last is. */
  async function put(installation: string): Promise<void> {
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

  return {
    read,

    /** Unless somebody has; returns whose it is. */
    async write(installation: string): Promise<string | undefined> {
      if ((await read()) === undefined) await put(installation)
      return read()
    },
  }
}
