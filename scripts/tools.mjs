import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './run.mjs'

/**
 * The tools that building needs beside npm and that are missing or too old.
 *
 * @returns {{ name: string, needed: string, found: string | undefined, install: string }[]} Each with the command that
 * installs it.
 */
export function missingTools(probe = versionOf, platform = process.platform) {
  const rust = rustVersion()
  const node = /** @type {string} */ (JSON.parse(read('package.json')).engines.node).replace('>=', '')
  const rustup =
    platform === 'win32'
      ? 'winget install Rustlang.Rustup'
      : "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"
  const tools = [
    { name: 'Node.js', command: 'node', needed: node, install: nodeCommand(platform) },
    // cargo comes with rustc, and in the same version.
    { name: 'Rust (cargo)', command: 'cargo', needed: rust, install: rustup, update: 'rustup update stable' },
  ]
  // On Windows rustup itself asks for the linker.
  if (platform !== 'win32')
    tools.push({
      name: 'a C linker (cc)',
      command: 'cc',
      needed: '0',
      install: linkerCommand(probe, platform),
    })

  return tools.flatMap(({ name, command, needed, install, update = install }) => {
    const found = probe(command)
    if (found !== undefined && !isOlder(found, needed)) return []
    return [{ name, needed, found, install: found === undefined ? install : update }]
  })
}

/** What to tell somebody who misses tools. */
export function describeMissing(tools) {
  return tools
    .map(({ name, needed, found, install }) => {
      const reason = found === undefined ? 'is not installed' : `is ${found}, at least ${needed} is needed`
      return `${name} ${reason}. To install it:\n\n    ${install}\n`
    })
    .join('\n')
}

/** Whether a version comes before another: numbers between dots, missing ones being 0. */
export function isOlder(version, than) {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number))
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

function nodeCommand(platform) {
  if (platform === 'win32') return 'winget install OpenJS.NodeJS.LTS'
  return platform === 'darwin' ? 'brew install node@22' : 'npm install --global n && n 22'
}

function linkerCommand(probe, platform) {
  if (platform === 'darwin') return 'xcode-select --install'
  const managers = [
    ['apt-get', 'sudo apt-get install -y build-essential'],
    ['dnf', 'sudo dnf install -y gcc'],
    ['pacman', 'sudo pacman -S --noconfirm base-devel'],
    ['apk', 'sudo apk add build-base'],
    ['zypper', 'sudo zypper install -y gcc'],
  ]
  return (managers.find(([manager]) => probe(manager) !== undefined) ?? managers[0])[1]
}

/** The version that a command prints, `0` if it prints none, `undefined` if it cannot be run. */
function versionOf(command) {
  if (command === 'node') return process.versions.node
  try {
    const text = execFileSync(command, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return /\d+(\.\d+)+/.exec(text)?.[0] ?? '0'
  } catch {
    return undefined
  }
}

function rustVersion() {
  return /^rust-version = "([\d.]+)"/m.exec(read('kernels-rs/Cargo.toml'))[1]
}

function read(path) {
  return readFileSync(join(root, path), 'utf8')
}
