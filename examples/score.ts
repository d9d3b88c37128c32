// How well a model knows a picture: its tokens, and the teacher-forced loss of each label.
import { HmarModel } from '@hmar/model'
import { labels, modelPath, renderShape, sampleShape, tokenizerPath } from '@hmar/shapes'
import { Tokenizer } from '@hmar/tokenizer'

await using model = await HmarModel.load({ path: modelPath })
await using tokenizer = await Tokenizer.load({ path: tokenizerPath, pyramid: model.config.pyramid })

const tokens = await tokenizer.encode(renderShape(sampleShape(7, 'star')))
const losses = await Promise.all(
  labels.map(async (label) => ({ label, loss: (await model.score({ tokens, label })).meanLoss })),
)
losses.sort((a, b) => a.loss - b.loss)
console.table(losses)
