const kernels = ['--manifest-path', 'kernels-rs/Cargo.toml']

/** What keeps both languages in shape: commands with their arguments. */
export const linters = [
  ['biome', ['ci', '.']],
  ['knip', []],
  ['turbo', ['run', 'typecheck', '--output-logs=errors-only']],
  ['typedoc', ['--emit', 'none', '--logLevel', 'Warn']],
  ['cargo', ['fmt', ...kernels, '--all', '--check']],
  ['cargo', ['clippy', ...kernels, '--workspace', '--all-targets', '--quiet', '--', '-D', 'warnings']],
]
