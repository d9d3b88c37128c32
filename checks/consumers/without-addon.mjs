import { inspectDevices } from '@hmar/native'

try {
  inspectDevices()
} catch ({ code, message }) {
  console.log(`${code}: ${message}`)
}
