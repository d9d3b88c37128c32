import { readFile } from 'node:fs/promises'

import { peakOf } from '../floor.js'
import type { CompareCase } from './comparison.js'

/** What `hmar-device-check` writes. */
interface Report {
  readonly device: { readonly name: string; readonly driver: string }
  readonly parts: Readonly<Record<string, { readonly data?: { readonly cases?: readonly CompareCase[] } }>>
}

/** Its floors are those of one GPU, whichever it ran on. */
function withoutFloor({ floor, decodeFloor, ...found }: CompareCase): CompareCase {
  return found
}

/** What `hmar-device-check compare` found, and on which GPU. */
export async function readDeviceCheck(
  file: string,
): Promise<{ gpu: { name: string; features: string[] }; cases: CompareCase[] }> {
  const { device, parts }: Report = JSON.parse(await readFile(file, 'utf8'))
  const cases = Object.entries(parts)
    .filter(([name]) => name.startsWith('compare/'))
    .flatMap(([, { data }]) => data?.cases ?? [])
    .map((found) => (peakOf(device.name) ? found : withoutFloor(found)))
  const ascending = (key: 'resolution' | 'depth' | 'batch') => (a: CompareCase, b: CompareCase) =>
    a[key] - b[key]
  // Sorting keeps the order of equals: the last criterion counts most.
  const sorted = cases
    .toSorted(ascending('batch'))
    .toSorted(ascending('depth'))
    .toSorted(ascending('resolution'))
  return { gpu: { name: device.name, features: [`driver ${device.driver}`] }, cases: sorted }
}
