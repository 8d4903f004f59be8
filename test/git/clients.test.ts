// The clients that are always at hand; the others are `npm run test:clients`.
import { testClient } from '../helpers/client-behaviour.ts'
import { gitClient, isomorphicGit } from '../helpers/common-clients.ts'

testClient(gitClient())
testClient(isomorphicGit)
