// Writes what the release is made of, as CycloneDX: the npm packages that an installation brings, and the crates that are in
// the addon. `node scripts/sbom.mjs <folder>`; needs cargo-cyclonedx, and the packages in the registry.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { emptyProject } from '../checks/empty-project.mjs'
import { runTool } from '../checks/run-tool.mjs'
import { publishedPackages } from './workspace.mjs'
