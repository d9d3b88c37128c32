import { relative } from 'node:path'
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor'
import { root } from '../scripts/run.mjs'
import { entryPoints, publishedPackages } from '../scripts/workspace.mjs'

/** Every entry point of a library whose public API is on record. */
export const recordedEntryPoints = () =>
  publishedPackages().flatMap((library) => entryPoints(library).map((entry) => ({ ...entry, library })))

/** The report of an entry point, e.g. `docs/api/native-binding.api.md`. */
export const reportName = ({ id }) => id.replace('@hmar/', '').replaceAll('/', '-')

/**
 * Compares an entry point's public API with its report in `docs/api`.
 *
 * @param {string} reportTempFolder - where the report as it is now is written
 * @param {boolean} update - whether a report that differs is replaced
 * @returns {boolean} whether it differed
 */
export function compareReport(entry, reportTempFolder, update) {
  const { folder } = entry.library
  const config = ExtractorConfig.prepare({
    configObjectFullPath: `${folder}/api-extractor.json`,
    packageJsonFullPath: `${folder}/package.json`,
    configObject: {
      projectFolder: folder,
      mainEntryPointFilePath: entry.types,
      compiler: { overrideTsconfig: { compilerOptions, include: [relative(folder, entry.types)] } },
      apiReport: {
        enabled: true,
        reportFileName: reportName(entry),
        reportFolder: `${root}docs/api`,
        reportTempFolder,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      newlineKind: 'lf',
      messages: { extractorMessageReporting: { default: { logLevel: 'none' } } },
    },
  })
  const messageCallback = (message) => {
    message.handled = true
  }
  return Extractor.invoke(config, { localBuild: update, messageCallback }).apiReportChanged
}

const compilerOptions = {
  target: 'ES2022',
  lib: ['ES2023', 'ESNext.Disposable'],
  types: ['node'],
  module: 'NodeNext',
  moduleResolution: 'NodeNext',
  strict: true,
  skipLibCheck: true,
}
