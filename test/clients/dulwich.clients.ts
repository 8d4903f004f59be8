import { testPythonClient } from './python.ts'

await testPythonClient('dulwich', { showsAsciiOnly: true })
