// The end-to-end tests, in a browser: of what is built.
import { chromiumMissing, testEndToEnd } from './end-to-end.mjs'
import { prepare } from './prepare.mjs'

const missing = chromiumMissing()
if (missing) process.stderr.write(missing)
const ok = !missing && (await prepare(['@hmar/demo', '@hmar/cli'])) && (await testEndToEnd()).failed === 0
process.exitCode = ok ? 0 : 1
