// The API's description of itself: the OpenAPI document, and a page that shows it without any other server.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { stringify } from 'yaml'
import { z } from 'zod'
import { notFound } from '../errors.ts'
import { openapi } from './openapi.ts'
import { json, publicRoute, type Route } from './route.ts'

const require = createRequire(import.meta.url)

const HTML = 'text/html; charset=utf-8'
const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>hypeman build server: API</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="api"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`
const START = `const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()
SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  validatorUrl: null,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
})
`
/** Nothing but this server, and no script or style written into the page. */
const PAGE_HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'Referrer-Policy': 'no-referrer',
}
const FILES: Record<string, { type: string; read: () => Promise<string> }> = {
  'start.js': { type: 'text/javascript; charset=utf-8', read: async () => START },
  'swagger-ui-bundle.js': {
    type: 'text/javascript; charset=utf-8',
    read: () => fromPackage('swagger-ui-bundle.js'),
  },
  'swagger-ui.css': {
    type: 'text/css; charset=utf-8',
    read: () => fromPackage('swagger-ui.css'),
  },
}

const Document = z.record(z.string(), z.unknown()).meta({ examples: [{ openapi: '3.1.1' }] })

const tag = 'service'

/** The rows given plus those that describe them all. */
export function withDocs(routes: readonly Route[]): Route[] {
  const all = [
    ...routes,
    documentRoute('getOpenapi', '/openapi.json', () => document),
    documentRoute('getSpec', '/spec.json', () => document),
    yamlRoute(() => document),
    pageRoute('getDocs', '/docs'),
    pageRoute('getSwagger', '/swagger'),
    fileRoute(),
  ]
  const document = openapi(all) as unknown as Record<string, unknown>
  return all
}

function documentRoute(id: string, path: string, document: () => Record<string, unknown>): Route {
  return publicRoute({
    id,
    method: 'get',
    path,
    summary: 'This document',
    tag,
    replies: {
      200: json('OpenAPI 3.1', Document),
    },
    handle: async () => ({ status: 200, json: document() }),
  })
}

function yamlRoute(document: () => Record<string, unknown>): Route {
  return publicRoute({
    id: 'getSpecYaml',
    method: 'get',
    path: '/spec.yaml',
    summary: 'This document as YAML',
    tag,
    replies: {
      200: {
        description: 'OpenAPI 3.1',
        content: { 'application/yaml': Document },
      },
    },
    handle: async () => ({
      status: 200,
      text: stringify(document(), { aliasDuplicateObjects: false }),
      type: 'application/yaml; charset=utf-8',
    }),
  })
}

function pageRoute(id: string, path: string): Route {
  return publicRoute({
    id,
    method: 'get',
    path,
    summary: 'This document to read and to try',
    tag,
    replies: {
      200: {
        description: 'A page',
        content: { 'text/html': z.string().meta({ examples: ['<!doctype html>…'] }) },
      },
    },
    handle: async () => ({ status: 200, text: PAGE, type: HTML, headers: PAGE_HEADERS }),
  })
}

function fileRoute(): Route {
  const text = (example: string) => z.string().meta({ examples: [example] })
  return publicRoute({
    id: 'getDocsFile',
    method: 'get',
    path: '/docs/{file}',
    summary: 'What the page is made of',
    tag,
    resource: 'file',
    params: z.object({ file: z.string().meta({ examples: Object.keys(FILES) }) }),
    replies: {
      200: {
        description: 'A script or a style sheet',
        content: { 'text/javascript': text('SwaggerUIBundle({})'), 'text/css': text('body {}') },
      },
    },
    async handle({ params: { file } }) {
      if (!Object.hasOwn(FILES, file)) throw notFound('file')
      const { type, read } = FILES[file]!
      const headers = { 'Cache-Control': 'public, max-age=3600' }
      return { status: 200, text: await read(), type, headers }
    },
  })
}

function fromPackage(name: string): Promise<string> {
  return readFile(require.resolve(`swagger-ui-dist/${name}`), 'utf8')
}
