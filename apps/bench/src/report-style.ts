/** The report's looks, in light and dark. The palette holds up for the colour-blind (Okabe and Ito's). */
export const style = `
:root {
  color-scheme: light dark;
  --text: light-dark(#1b1f24, #e6e6e3);
  --quiet: light-dark(#5c636b, #a2a7ad);
  --line: light-dark(#dfe2e6, #363b41);
  --page: light-dark(#ffffff, #16181b);
  --panel: light-dark(#f6f7f8, #1e2125);
  --c-0: light-dark(#0072b2, #56b4e9);
  --c-1: light-dark(#d55e00, #e69f00);
  --c-rest: light-dark(#b4bac1, #596068);
}
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 40px 0 12px; }
pre, .scroll { overflow-x: auto; }
pre { background: var(--panel); padding: 10px 14px; border-radius: 6px; font-size: 13px; }
.small { color: var(--quiet); font-size: 13px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 500; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 20px 0; padding: 16px; background: var(--panel); border-radius: 8px; }
figcaption { font-weight: 600; margin-bottom: 8px; }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif; }
svg text { fill: var(--text); font-variant-numeric: tabular-nums; }
svg .tick { fill: var(--quiet); font-size: 12px; }
svg .grid { stroke: var(--line); }
svg .whisker { stroke: var(--text); stroke-width: 1.5; fill: none; }
svg .mark { stroke: var(--text); stroke-width: 2; }
.legend { display: flex; gap: 18px; list-style: none; margin: 0 0 4px; padding: 0; font-size: 13px; }
.c-mark { background: var(--text); }
.legend .c-mark { width: 2px; }
details { margin: 20px 0; padding: 12px 16px; background: var(--panel); border-radius: 8px; }
summary { font-weight: 600; cursor: pointer; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
${['0', '1', 'rest'].map((name) => `.c-${name} { fill: var(--c-${name}); background: var(--c-${name}); }`).join('\n')}
`
