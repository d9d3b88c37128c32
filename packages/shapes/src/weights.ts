import { fileURLToPath } from 'node:url'

import json from '../weights/config.json' with { type: 'json' }

const path = (name: string) => fileURLToPath(new URL(`../weights/${name}`, import.meta.url))

/** Absolute path of the transformer's weights (safetensors, bf16). `config.json` lies beside it. */
export const modelPath = path('model.safetensors')

/** Absolute path of the tokenizer's weights (safetensors, bf16). */
export const tokenizerPath = path('tokenizer.safetensors')

/** What stands in the `config.json` beside the weights: their layout, labels and the sampling they were tuned for. */
export const config = json
