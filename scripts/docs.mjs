// Builds the documentation site: the packages' types and docs/*.md, as typedoc.json says.
import { install } from './prepare.mjs'
import { run } from './run.mjs'

const { ok } = (await install()) ? await run('typedoc', []) : { ok: false }
if (!ok) process.exitCode = 1
