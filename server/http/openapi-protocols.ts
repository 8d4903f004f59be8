// Paths that are no rows of the route table because a protocol of others defines them: git and the registry.
// Described so that a reader finds them; clients take them from their own specification.
import type { ZodOpenApiPathsObject } from 'zod-openapi'

const basic = [{ password: [] }]
const registry = [{ token: [] }, { password: [] }]

const parameter = (name: string, description: string, example: string) => ({
  name,
  in: 'path' as const,
  required: true,
  description,
  schema: { type: 'string' as const },
  example,
})

const app = parameter('app', 'Name of the app.', 'hello')
const name = parameter('name', 'Repository; may hold slashes.', 'library/node')
const reference = parameter('reference', 'Tag or digest.', '20')

const refused = {
  '401': { description: 'No token, or none that is valid' },
  '403': { description: 'The token may not do this' },
  '404': { description: 'Nothing of that name that the token may see' },
}
const gitRefused = { ...refused, '405': { description: 'git uses the other method' } }
const binary = (type: string) => ({ content: { [type]: {} } })
const manifest = 'application/vnd.oci.image.manifest.v1+json'

const git = (service: 'upload-pack' | 'receive-pack', summary: string) => ({
  post: {
    operationId: service === 'upload-pack' ? 'gitFetch' : 'gitPush',
    summary,
    tags: ['git'],
    security: basic,
    parameters: [app],
    requestBody: { required: true, ...binary(`application/x-git-${service}-request`) },
    responses: {
      '200': { description: 'The pack protocol', ...binary(`application/x-git-${service}-result`) },
      ...gitRefused,
    },
  },
})

const lfsType = binary('application/vnd.git-lfs+json')
const oid = parameter('oid', 'SHA-256 of the object, in hexadecimal.', 'a'.repeat(64))
const size = parameter('size', 'Its bytes.', '1024')

const lfs = (operationId: string, summary: string, more: object = {}) => ({
  operationId,
  summary,
  tags: ['git'],
  security: basic,
  parameters: [app],
  responses: { '200': { description: 'Done', ...lfsType }, ...gitRefused },
  ...more,
})
const lfsBody = { requestBody: { required: true, ...lfsType } }
const bytes = binary('application/octet-stream')

export const PROTOCOL_PATHS: ZodOpenApiPathsObject = {
  '/{app}.git/info/refs': {
    get: {
      operationId: 'gitRefs',
      summary: 'The refs of an app; the first push makes the app here',
      tags: ['git'],
      security: basic,
      parameters: [
        app,
        {
          name: 'service',
          in: 'query',
          required: true,
          schema: { enum: ['git-upload-pack', 'git-receive-pack'] },
        },
      ],
      responses: {
        '200': {
          description: 'Refs in packet lines',
          content: {
            'application/x-git-upload-pack-advertisement': {},
            'application/x-git-receive-pack-advertisement': {},
          },
        },
        ...gitRefused,
      },
    },
  },
  '/{app}.git/git-upload-pack': git('upload-pack', 'Fetch'),
  '/{app}.git/git-receive-pack': git('receive-pack', 'Push; follows the build it starts'),
  '/{app}.git/info/lfs/objects/batch': {
    post: lfs('lfsBatch', 'Git LFS: where objects are sent to or got from', lfsBody),
  },
  '/{app}.git/info/lfs/objects/verify': {
    post: lfs('lfsVerify', 'Git LFS: whether an object has arrived', lfsBody),
  },
  '/{app}.git/info/lfs/objects/{oid}': {
    get: lfs('lfsDownload', 'Git LFS: the content of an object', {
      parameters: [app, oid],
      responses: { '200': { description: 'The content', ...bytes }, ...gitRefused },
    }),
  },
  '/{app}.git/info/lfs/objects/{oid}/{size}': {
    put: lfs('lfsUpload', 'Git LFS: take the content of an object in', {
      parameters: [app, oid, size],
      requestBody: { required: true, ...bytes },
    }),
  },
  '/v2/': {
    get: {
      operationId: 'registryBase',
      summary: 'Whether the token is good for the registry',
      tags: ['registry'],
      security: registry,
      responses: { '200': { description: 'It is' }, '401': refused['401'] },
    },
  },
  '/v2/token': {
    get: {
      operationId: 'registryToken',
      summary: 'A short token for what is asked and may be had',
      tags: ['registry'],
      security: basic,
      parameters: [
        {
          name: 'scope',
          in: 'query',
          schema: { type: 'array', items: { type: 'string' } },
          example: ['repository:library/node:pull'],
        },
      ],
      responses: {
        '200': { description: 'The token', content: { 'application/json': {} } },
        '401': refused['401'],
      },
    },
  },
  '/v2/_catalog': {
    get: {
      operationId: 'registryCatalog',
      summary: 'The repositories that the token may pull',
      tags: ['registry'],
      security: registry,
      responses: {
        '200': { description: 'Their names', ...binary('application/json') },
        '400': { description: 'n or last is wrong' },
        '401': refused['401'],
      },
    },
  },
  '/v2/{name}/referrers/{digest}': {
    get: {
      operationId: 'registryReferrers',
      summary: 'What was pushed with this manifest as its subject',
      tags: ['registry'],
      security: registry,
      parameters: [
        name,
        parameter('digest', 'Of the subject.', `sha256:${'0'.repeat(64)}`),
        {
          name: 'artifactType',
          in: 'query',
          schema: { type: 'string' },
          example: 'application/spdx+json',
        },
      ],
      responses: {
        '200': {
          description: 'An index of them',
          ...binary('application/vnd.oci.image.index.v1+json'),
        },
        ...refused,
      },
    },
  },
  '/v2/{name}/manifests/{reference}': {
    get: {
      operationId: 'registryManifest',
      summary: 'Pull a manifest',
      tags: ['registry'],
      security: registry,
      parameters: [name, reference],
      responses: { '200': { description: 'The manifest', ...binary(manifest) }, ...refused },
    },
    put: {
      operationId: 'registryPutManifest',
      summary: 'Push a manifest',
      tags: ['registry'],
      security: registry,
      parameters: [name, reference],
      requestBody: { required: true, ...binary(manifest) },
      responses: { '201': { description: 'It is there' }, ...refused },
    },
  },
}
