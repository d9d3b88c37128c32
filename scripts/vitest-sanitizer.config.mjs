import base from '../vitest.config.ts'

// For the processes that run tests alone: vitest's own addons do not bear the sanitizer.
process.env.LD_PRELOAD = process.env.SANITIZER_LIBRARY

export default { ...base, root: new URL('..', import.meta.url).pathname }
