/** Three digits: `0` → `0`, `83.25` → `83.3 ms`, `0.7` → `0.7 ms`, `8400` → `8.4 s`. */
export function formatTime(ms: number): string {
  if (ms === 0) return '0'
  return ms >= 1000 ? `${threeDigits(ms / 1000)} s` : `${threeDigits(ms)} ms`
}

const threeDigits = (value: number) =>
  value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)))

/** In MB below one GB, else in GB; both decimal. */
export function formatMemory(bytes: number): string {
  if (bytes === 0) return '0'
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(2)} GB`
}

export const formatPercent = (share: number) => `${(share * 100).toFixed(0)}%`
