import { entryPoints, publishedPackages } from '../scripts/workspace.mjs'
import limits from './size-limits.json' with { type: 'json' }

/*
 * What an import costs, minified and compressed by brotli: a package's own code, and, of packages that run in a browser,
 * all that is loaded there.
 */
export default publishedPackages().flatMap((library) => {
  const { code, browser } = limits[library.name] ?? limits.otherwise
  return entryPoints(library).flatMap((entry) => [
    measure(`${entry.id}, its own code`, entry, code, { platform: 'node', packages: 'external' }),
    ...(browser ? [measure(`${entry.id}, in a browser`, entry, browser, { platform: 'browser' })] : []),
  ])
})

function measure(name, { code }, limit, options) {
  const modifyEsbuildConfig = (config) => ({ ...config, ...options, format: 'esm', target: 'es2022' })
  return { name, path: code, limit, modifyEsbuildConfig }
}
