"""The style sheet of the report: light or dark, as the reader's system is."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --soft: #5b6675;
  --line: #d9dee5; --panel: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ef; --paper: #14181e; --soft: #9aa6b5; --line: #323b47; --panel: #1c222b; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; }
h1 + p, small { color: var(--soft); }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; }
h3 { font-size: 1rem; margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:first-child { text-align: left; white-space: nowrap; }
td { white-space: nowrap; }
thead th { font-weight: 500; color: var(--soft); font-size: 0.85rem; vertical-align: bottom; }
tbody th { font-weight: 500; }
td small { display: block; line-height: 1.1; }
.answer { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 0.8rem 1rem; margin: 0.6rem 0; }
.answer p { display: flex; flex-wrap: wrap; align-items: center; gap: 0.8rem; margin: 0.4rem 0; }
.answer q { flex: 1 1 18rem; }
audio { height: 2.2rem; width: 17rem; }
figure { margin: 0; }
svg { width: 100%; height: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
svg .grid { stroke: var(--line); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; padding: 0; margin: 0.4rem 0;
  font-size: 0.88rem; }
.swatch { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 2px; margin-right: 0.35rem;
  vertical-align: -1px; }
.sequence { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 0.8rem 1rem;
  overflow-wrap: anywhere; margin: 0.5rem 0; }
.sequence b { color: var(--soft); margin-right: 0.6rem; }
.prompt { color: var(--soft); }
.question { color: #2f6fc0; }
.text { color: #1d7f57; font-weight: 600; }
.units { color: #b3641d; font-family: ui-monospace, monospace; font-size: 0.72rem; }
.marker { color: #a23b8f; font-family: ui-monospace, monospace; font-size: 0.85rem; }
.swatch.reads, rect.reads { fill: #7a5cc4; background: #7a5cc4; }
.swatch.text, rect.text { fill: #1d7f57; background: #1d7f57; }
.swatch.units, rect.units { fill: #d9944a; background: #d9944a; }
.swatch.sound, rect.sound { fill: #3b6fb6; background: #3b6fb6; }
@media (prefers-color-scheme: dark) {
  .question { color: #7db2f0; } .text { color: #6fcf9f; } .units { color: #e0a060; } .marker { color: #dd8fd0; }
}
"""
