// Prints `true` where the registry lacks a version that is here: there is something to release.
import { runTool } from '../checks/run-tool.mjs'
import { platformPackages, publishedPackages } from './workspace.mjs'

const isPublished = ({ name, manifest }) => {
  try {
    return runTool('npm', ['view', `${name}@${manifest.version}`, 'version']).trim() !== ''
  } catch (error) {
    if (error.message.includes('E404')) return false
    throw error
  }
}

console.log(![...platformPackages(), ...publishedPackages()].every(isPublished))
