/** `0` → `0`, `83.25` → `83 ms`, `8.325` → `8.3 ms`, `8400` → `8.40 s`. */
export function formatTime(ms: number): string {
  if (ms === 0) return '0'
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`
}

/** In MB below one GB, else in GB; both decimal. */
export function formatMemory(bytes: number): string {
  if (bytes === 0) return '0'
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(2)} GB`
}

export const formatPercent = (share: number) => `${(share * 100).toFixed(0)}%`
