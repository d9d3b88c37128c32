/** A licence under which others released weights. */
export interface License {
  readonly name: string
  /** What it asks for, in one sentence. The licence's own text is what counts. */
  readonly summary: string
}

/** Weights that others released on the Hugging Face hub. None of them are in these packages. */
export interface ReleasedWeights {
  /** What they are called here. */
  readonly name: string
  readonly part: 'model' | 'tokenizer'
  /** Owner and name of the repository. */
  readonly repository: string
  readonly file: string
  readonly license: License
  /** How the model predicts, where its file does not tell. */
  readonly mode?: 'var'
}

const nvidia: License = {
  name: 'NVIDIA One-Way Noncommercial License',
  summary: 'It allows research and other non-commercial use only; converted files keep it.',
}
const mit: License = { name: 'MIT', summary: 'It allows any use that keeps its notice.' }

const tokenizer: ReleasedWeights = {
  name: 'vae_ch160v4096z32',
  part: 'tokenizer',
  repository: 'FoundationVision/var',
  file: 'vae_ch160v4096z32.pth',
  license: mit,
}

const hmar = (depth: number): ReleasedWeights => ({
  name: `hmar-d${depth}`,
  part: 'model',
  repository: 'nvidia/HMAR',
  file: `hmar-d${depth}.pth`,
  license: nvidia,
})

const visualAutoregressive = (depth: number): ReleasedWeights => ({
  name: `var-d${depth}`,
  part: 'model',
  repository: 'FoundationVision/var',
  file: `var_d${depth}.pth`,
  license: mit,
  mode: 'var',
})

/** All that have a name here. */
export const releasedWeights: readonly ReleasedWeights[] = [
  ...[16, 20, 24, 30].map(hmar),
  ...[16, 20, 24, 30, 36].map(visualAutoregressive),
  tokenizer,
]

/** The tokenizer of every released model. */
export const releasedTokenizer: ReleasedWeights = tokenizer

/** The weights of that name, if any have it. */
export const findReleasedWeights = (name: string): ReleasedWeights | undefined =>
  releasedWeights.find((weights) => weights.name === name)
