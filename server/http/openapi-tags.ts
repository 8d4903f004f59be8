// The sections of the API document.

export const TAGS = [
  {
    name: 'builds',
    description:
      'A build is `queued → building → pushing → ready`, or `failed`, or `cancelled`. A token sees its own ' +
      "tenant's; any other id is as unknown as one that never was.",
  },
  { name: 'apps', description: 'An app is one hosted repository and how pushes to it are built.' },
  {
    name: 'secrets',
    description:
      'What the builds of an app may read while they run. Values go in and never come out.',
  },
  {
    name: 'builders',
    description:
      'A builder is a persistent disk with the state of BuildKit: layers and cache mounts of earlier builds. ' +
      'It has one build at a time. An app gets one of its own.',
  },
  { name: 'reports', description: 'What happened, added up.' },
  {
    name: 'workers',
    description: 'The processes that run builds, on this machine or others. An operator’s.',
  },
  { name: 'service', description: 'The server itself: health, metrics, this document.' },
  {
    name: 'git',
    description:
      'Smart HTTP for git clients: `git push` starts builds. The app may be preceded by its tenant: ' +
      '`/{tenant}/{app}.git`. The token goes into the password, with any user name.',
    externalDocs: { url: 'https://git-scm.com/docs/http-protocol', description: 'The protocol' },
  },
  {
    name: 'registry',
    description:
      'OCI distribution for docker, podman and skopeo. Repository names hold slashes (`builds/<id>`, ' +
      '`library/<name>`). Errors have the shape of that specification.',
    externalDocs: {
      url: 'https://github.com/opencontainers/distribution-spec/blob/main/spec.md',
      description: 'The specification, with all its paths',
    },
  },
]
