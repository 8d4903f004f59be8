import { testPythonClient } from './python.ts'

await testPythonClient('pygit2')
