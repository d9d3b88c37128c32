/**
 * The lines that the test `resources` of hmar-cuda prints, one for each kernel and architecture, as a table.
 *
 * @param {string} output
 * @returns {{ count: number, markdown: string }}
 */
export function kernelTable(output) {
  const line = /^(\w+) sm_(\w+): (\d+) registers, (\d+) bytes shared, (\d+) stack, (\d+) spilled$/gm
  const rows = [...output.matchAll(line)].map((match) => match.slice(1))
  const head = ['kernel', 'sm', 'registers', 'shared (bytes)', 'stack (bytes)', 'spilled (bytes)']
  const table = [head, head.map(() => '---'), ...rows]
  return { count: rows.length, markdown: table.map((cells) => `| ${cells.join(' | ')} |\n`).join('') }
}
