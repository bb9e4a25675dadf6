"""The style sheet of an audit's page: light and dark by the reader's setting, and for paper."""

STYLE = """
:root {
  --ink: #1d2430; --soft: #5a6472; --paper: #fff; --card: #f5f7f9; --rule: #d5dbe2;
  --error: #b3261e; --warning: #8a5a00; --note: #2d5f8b;
  --l0: #2266aa; --l1: #c2410c; --l2: #15803d; --l3: #7c3aed; --l4: #a16207; --l5: #be185d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --soft: #a3adba; --paper: #14181e; --card: #1d232b; --rule: #36404c;
    --error: #ff8a80; --warning: #f2b84b; --note: #8cbfe8;
    --l0: #6cb0f5; --l1: #fb923c; --l2: #4ade80; --l3: #c4a3ff; --l4: #eacb4f; --l5: #f48fb9;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; }
.said { color: var(--soft); max-width: 46rem; }
.verdict { font-size: 1.2rem; font-weight: 600; padding: .75rem 1rem; background: var(--card);
  border-left: .35rem solid; border-radius: .25rem; }
.verdict.error, .error .level { color: var(--error); }
.verdict.warning, .warning .level { color: var(--warning); }
.verdict.note, .note .level { color: var(--note); }
.findings { list-style: none; margin: 0; padding: 0; }
.findings li { background: var(--card); border-left: .25rem solid; border-radius: .25rem;
  margin: .6rem 0; padding: .6rem .9rem; overflow-wrap: anywhere; }
li.error { border-color: var(--error); }
li.warning { border-color: var(--warning); }
li.note { border-color: var(--note); }
.level { font-weight: 700; text-transform: uppercase; font-size: .75rem; letter-spacing: .05em;
  margin-right: .35rem; }
.remedy { display: block; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 2rem; }
figcaption { font-size: .9rem; }
svg { display: block; width: 100%; max-width: 28rem; height: auto; margin-top: .3rem;
  overflow: visible; }
svg text { fill: var(--soft); font-size: 12px; }
.axis { stroke: var(--soft); fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line1 { stroke-dasharray: 7 3; } .line2 { stroke-dasharray: 2 3; }
.line3 { stroke-dasharray: 10 3 2 3; } .line4 { stroke-dasharray: 4 4; }
.line0 { stroke: var(--l0); } .line1 { stroke: var(--l1); } .line2 { stroke: var(--l2); }
.line3 { stroke: var(--l3); } .line4 { stroke: var(--l4); } .line5 { stroke: var(--l5); }
.legend { margin: .2rem 0; font-size: .85rem; }
.key { margin-right: 1.2rem; border-bottom: 3px solid; overflow-wrap: anywhere; }
.key1 { border-bottom-style: dashed; } .key2 { border-bottom-style: dotted; }
.key3, .key4 { border-bottom-style: dashed; }
.key0 { border-color: var(--l0); } .key1 { border-color: var(--l1); }
.key2 { border-color: var(--l2); } .key3 { border-color: var(--l3); }
.key4 { border-color: var(--l4); } .key5 { border-color: var(--l5); }
.row { display: flex; flex-wrap: wrap; gap: .75rem; }
.picture { margin: 0; width: 9rem; font-size: .75rem; }
.picture img { display: block; width: 9rem; height: 9rem; object-fit: contain;
  background: #000; border-radius: .2rem; }
.picture figcaption { font-size: .72rem; line-height: 1.3; overflow-wrap: anywhere;
  color: var(--soft); margin-top: .2rem; }
.picture b { font-weight: 600; color: var(--ink); }
.groups { display: flex; flex-wrap: wrap; gap: .75rem; }
.group { background: var(--card); border-radius: .35rem; padding: .6rem; }
.group .row { gap: .5rem; }
.group .picture, .group img { width: 8.4rem; }
.group img { height: 8.4rem; }
.flag { color: var(--error); font-weight: 600; font-size: .85rem; margin: 0 0 .3rem; }
details { margin: 1.5rem 0; }
summary { cursor: pointer; font-weight: 600; }
@media print {
  :root { --ink: #000; --soft: #333; --paper: #fff; --card: #f5f5f5; --rule: #999;
    --error: #b3261e; --warning: #8a5a00; --note: #2d5f8b;
    --l0: #2266aa; --l1: #c2410c; --l2: #15803d; --l3: #7c3aed; --l4: #a16207; --l5: #be185d; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .findings li, figure, tr, .group { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
