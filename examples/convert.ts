// A checkpoint looked at and converted, with its licence and the sum of what it came from kept.
import { convertCheckpoint, inspectCheckpoint, inspectDevices } from '@hmar/native'
import { modelPath } from '@hmar/shapes'

console.table(inspectDevices())
const { layout, parameters, license } = await inspectCheckpoint(modelPath)
console.log(
  `${layout}, ${(parameters / 1e6).toFixed(1)} million parameters, ${license ?? 'no licence named'}`,
)
await convertCheckpoint({ inputs: [modelPath], output: 'shapes-bf16.safetensors', dtype: 'bf16' })
