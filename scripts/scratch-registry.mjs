import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { runTool } from '../checks/run-tool.mjs'

/**
 * A registry of our own on this machine alone, which takes what anyone publishes and gets all but our packages from npm.
 *
 * @param {string} folder - where it keeps everything
 * @returns its address, and how to stop it: waiting until it has ended, or at once
 */
export async function startRegistry(folder) {
  const port = await freePort()
  mkdirSync(folder)
  const config = join(folder, 'config.yaml')
  writeFileSync(config, settings(folder))
  writeFileSync(join(folder, 'package.json'), JSON.stringify(verdaccio))
  runTool('npm', ['install', '--no-audit', '--no-fund'], { folder })
  const program = join(folder, 'node_modules', 'verdaccio', 'bin', 'verdaccio')
  const child = spawn(process.execPath, [program, '--config', config, '--listen', `127.0.0.1:${port}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const kill = () => child.kill()
  const stop = async () => {
    if (child.exitCode !== null) return
    const gone = once(child, 'exit')
    kill()
    await gone
  }
  const address = `http://127.0.0.1:${port}`
  for (let seconds = 0; seconds < 120; seconds++) {
    if (child.exitCode !== null) throw new Error('The registry ended before it listened.')
    if (await answers(`${address}/-/ping`)) return { address, stop, kill }
    await wait(1000)
  }
  await stop()
  throw new Error('The registry does not answer.')
}

const verdaccio = {
  private: true,
  dependencies: { verdaccio: '6.8.0' },
  // A dependency asks for this by a tag, which mirrors of npm may lack.
  overrides: { 'node-fetch': '2.6.7' },
}

const settings = (folder) => `
storage: ${JSON.stringify(join(folder, 'storage'))}
uplinks:
  npm: { url: https://registry.npmjs.org/ }
packages:
  '@hmar/*': { access: $all, publish: $all }
  '**': { access: $all, proxy: npm }
max_body_size: 200mb
log: { type: stdout, format: pretty, level: error }
`

async function answers(url) {
  try {
    return (await fetch(url)).ok
  } catch {
    return false
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
