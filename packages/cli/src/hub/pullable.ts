import {
  findReleasedWeights,
  HmarRangeError,
  type License,
  releasedTokenizer,
  releasedWeights,
} from '@hmar/core'

import type { Wanted } from './hub-error.js'

/** What can be pulled: released weights, or any file of a model's repository, whose licence only its owner knows. */
export interface Pullable extends Wanted {
  readonly license?: License
}

/** What the words of `hmar pull` ask for, each file once; a released model brings its tokenizer along. */
export function pullables(words: readonly string[]): Pullable[] {
  const all = words.flatMap((word): readonly Pullable[] => {
    const weights = findReleasedWeights(word)
    if (weights === undefined) return [fileOfRepository(word)]
    return weights.part === 'model' ? [weights, releasedTokenizer] : [weights]
  })
  const byFile = new Map(all.map((one) => [`${one.repository}/${one.file}`, one]))
  return [...byFile.values()]
}

const part = /^[\w-][\w.-]*$/

function fileOfRepository(word: string): Pullable {
  const parts = word.split('/')
  const [owner, name, ...file] = parts
  if (file.length === 0 || !parts.every((one) => part.test(one)))
    throw new HmarRangeError(`'${word}' names no weights.`, {
      expected: `${releasedWeights.map(({ name }) => name).join(', ')}, or <owner>/<repository>/<file>`,
    })
  return { repository: `${owner}/${name}`, file: file.join('/') }
}
