import { relative } from 'node:path'

/** The command this process was started by. */
export function commandLine(): string {
  const [, program, ...words] = process.argv
  const start = process.env.npm_lifecycle_event
    ? ['npm run bench', ...(words.length > 0 ? ['--'] : [])]
    : ['node', relative('.', program!)]
  return [...start, ...words].join(' ')
}
